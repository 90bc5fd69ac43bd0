"""Draws against an exact posterior: error of the mean and ratio of spreads, where the data speak and where not."""

from typing import NamedTuple

import torch
from torch import Tensor


class Exactness(NamedTuple):
    """How far draws are from the posterior, in the measured and in the unmeasured part of the coefficients.

    mean: root mean square of (mean of the draws - exact mean) / exact standard deviation. Exact draws give 1/sqrt(S).
    spread: root of (mean variance of the draws / mean exact variance). Exact draws give 1.
    floor: 1/sqrt(S), what S exact draws would show as `mean`.
    """

    mean_measured: float
    mean_unmeasured: float
    spread_measured: float
    spread_unmeasured: float
    floor: float


def exactness(draws: Tensor, mean: Tensor, std: Tensor, measured: Tensor) -> Exactness:
    """Compare draws with an exact posterior whose coefficients are independent.

    Args:
        draws: (S, ...) coefficients, real or complex (in k-space for Cartesian MRI under a stationary prior).
        mean, std: exact posterior of each coefficient; std per real component.
        measured: bool, of the shape of one draw; both parts must hold something.
    """
    error = ((draws.mean(0) - mean).abs() / std).square() / (2 if draws.is_complex() else 1)
    variance = (draws - draws.mean(0)).abs().square().sum(0) / (len(draws) - 1) / (2 if draws.is_complex() else 1)

    def rms(part: Tensor) -> float:
        return float(error[part].mean().sqrt())

    def ratio(part: Tensor) -> float:
        return float((variance[part].mean() / std[part].square().mean()).sqrt())

    parts = (measured, ~measured)
    means, spreads = [rms(p) for p in parts], [ratio(p) for p in parts]
    return Exactness(means[0], means[1], spreads[0], spreads[1], len(draws) ** -0.5)


def diagonal_posterior(prior_variance: Tensor, y: Tensor, sigma_y: float, measured: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per real component of coefficients c ~ N(0, v) with y = c + noise where measured."""
    gain = torch.where(measured, prior_variance / (prior_variance + sigma_y**2), 0.0)
    return gain * y, (prior_variance * (1 - gain)).sqrt()
