"""Gaussian problems with a known posterior for any linear operator, and how far draws are from it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

import invdiff
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.posterior import exact_posterior


def stationary(op: Operator, power: float = 1.5) -> GaussianPrior:
    """Smooth images for op, mean zero: an even spectrum that falls from `power` at the zero frequency."""
    channels, height, width = op.shape_in
    rows, columns = ((torch.arange(n) - n // 2).abs() for n in (height, width))
    square = torch.minimum(rows, height - rows)[:, None] ** 2 + torch.minimum(columns, width - columns) ** 2
    spectrum = (power / (1 + square / 2) ** 1.5).expand(channels, -1, -1)
    return GaussianPrior.stationary(
        torch.zeros(op.shape_in, dtype=torch.complex64 if op.complex_in else torch.float32), spectrum
    )


class Distance(NamedTuple):
    """Root mean square over pixels of (mean of draws - exact mean) / exact standard deviation; ratio of spreads."""

    mean: float
    spread: float


def distance(
    method: str,
    op: LinearOperator,
    *,
    prior: GaussianPrior | None = None,
    noise: float = 0.1,
    told: float = 1.0,
    samples: int = 32,
    solved_with: LinearOperator | None = None,
    **options: Any,
) -> Distance:
    """Draws of one image behind op against the exact posterior.

    Args:
        noise: standard deviation of the noise in units of |A|. told: the solver is told this times the truth.
        solved_with: the operator that the solver gets.
    """
    prior = stationary(op) if prior is None else prior
    sigma_y = noise * op.norm()
    y = op.simulate(prior.sample(1, 3), sigma_y, seed=1)
    exact = exact_posterior(prior, op, y, sigma_y)
    result = invdiff.solve(
        y,
        solved_with or op,
        prior,
        method,
        sigma_y=told * sigma_y,
        seed=0,
        scale=1.0,
        num_samples=samples,
        progress=False,
        **options,
    )
    parts = 2 if prior.complex else 1
    error = ((result.mean - exact.mean).abs() / exact.std()).square().mean() / parts
    off = result.samples[0] - result.mean
    variance = off.abs().square().sum(0).mean() / (samples - 1) / parts
    return Distance(float(error.sqrt()), float((variance / exact.std().square().mean()).sqrt()))


class Oracle:
    """A prior that knows the image, whatever it is shown."""

    shape = None
    range = (-1.0, 1.0)
    sigma_min, sigma_max = 0.01, 5.0
    domain = ""
    percentile = window = None

    def __init__(self, image: Tensor) -> None:
        self.image, self.complex = image, image.is_complex()

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        return self.image.expand_as(x) + 0 * x
