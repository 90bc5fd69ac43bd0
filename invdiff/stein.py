"""E_p[<s, f> + div f] = 0 for s = grad log p: how far samples are from a posterior of which no sample is at hand.

The score of the posterior is the prior's, by Tweedie's formula at a small noise sigma, plus the likelihood's:

    s(x) = (D(x; sigma) - x) / sigma^2 + A'(x)^H (y - A(x)) / sigma_y^2

`kernel_stein` takes the worst f of a reproducing kernel space, `stein_variance` f(x) = x - mean alone. The kernel sees
every kind of error, and in d dimensions needs about sqrt(d) samples to see any; the linear f sees only the spread, with
few. Neither looks at a truth, and neither is better than its score: the target is the posterior of the prior smoothed
by sigma, so that samples which vary by less than sigma count as too narrow.

Source: Liu, Lee and Jordan, A Kernelized Stein Discrepancy for Goodness-of-fit Tests, ICML 2016, Theorem 3.6; Gorham
and Mackey, Measuring Sample Quality with Kernels, ICML 2017, for the inverse multiquadric kernel; Qiu et al., Beyond
Accuracy: Evaluating Posterior Fidelity of Diffusion Inverse Solvers, 2026, for the score of a diffusion prior.
Differs: the width of the kernel is the median distance of the samples; complex values count as two real ones.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.priors.gaussian_posterior import real_rows
from invdiff.priors.prior import Prior
from invdiff.shapes import check_shape

BETA = 0.5  # of the kernel (c^2 + |x - x'|^2)^-beta; below 1, so that it sees samples that escape (Gorham and Mackey)


class Stein(NamedTuple):
    """A statistic that is 0 (kernel_stein) or 1 (stein_variance) for draws, and its standard error."""

    value: float
    error: float


@torch.no_grad()
def posterior_score(
    x: Tensor, y: Tensor, op: Operator, prior: Prior, sigma_y: float, sigma: float | None = None
) -> Tensor:
    """grad log p(x | y), per real component, of samples x (S, *op.shape_in) in the prior's units, for one y.

    Args:
        y: (1, *op.shape_out), in units where the image is in the prior's.
        sigma_y: noise standard deviation per real component.
        sigma: noise at which the prior's score is taken; None is the lowest that the prior knows.
    """
    check_shape("posterior_score: x", x, op.shape_in)
    require("sigma_y", sigma_y, above=0)
    level = prior.sigma_min if sigma is None else sigma
    require("sigma", level, at_least=prior.sigma_min, at_most=prior.sigma_max)
    of_prior = (prior(x, level) - x) / level**2
    return of_prior + op.vjp(x, y - op(x)) / sigma_y**2


def kernel_stein(samples: Tensor, scores: Tensor) -> Stein:
    """Kernel Stein discrepancy, squared: the mean of u(x, x') over pairs of samples (S, ...) with their scores.

        u = <s, s'> k + <s, grad' k> + <s', grad k> + div div' k,   k = (c^2 + |x - x'|^2)^-beta

    Its expectation is 0 for draws and positive for others, in units of c^(-2 beta) |s|^2; the error is that of a
    U-statistic by its first projection, at most.

    Raises:
        ValueError: fewer than three samples, or scores of another shape.
    """
    x, s = _flat(samples, scores)
    n, d = x.shape
    gap = x[:, None] - x[None, :]
    square = gap.square().sum(-1)
    away = ~torch.eye(n, dtype=torch.bool)
    c2 = square[away].median()
    base = c2 + square
    toward = ((s[:, None] - s[None, :]) * gap).sum(-1)
    u = (s @ s.T) * base**-BETA + 2 * BETA * (toward + d) * base ** (-BETA - 1)
    u = u - 4 * BETA * (BETA + 1) * square * base ** (-BETA - 2)
    rows = u.masked_fill(~away, 0.0).sum(1) / (n - 1)
    return Stein(float(rows.mean()), 2 * float(rows.std()) / math.sqrt(n))


def stein_variance(samples: Tensor, scores: Tensor) -> Stein:
    """-S / (S - 1) mean_i <s_i, x_i - mean x> / d: the samples' variance in units of the posterior's.

    For a Gaussian posterior it is tr(C^-1 C_samples) / d, the mean over all directions of the ratio of variances: 1 for
    draws, below for samples that are too sure. One that ignores the data is far above.

    Raises:
        ValueError: fewer than three samples, or scores of another shape.
    """
    x, s = _flat(samples, scores)
    n, d = x.shape
    terms = -(s * (x - x.mean(0))).sum(1) * n / ((n - 1) * d)
    return Stein(float(terms.mean()), float(terms.std()) / math.sqrt(n))


def _flat(samples: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (S, d) real double, complex values as two."""
    if samples.shape != scores.shape or len(samples) < 3:
        raise ValueError(
            f"three samples or more and a score for each are needed; got {tuple(samples.shape)} and "
            f"{tuple(scores.shape)}."
        )
    return real_rows(samples).double().cpu(), real_rows(scores).double().cpu()
