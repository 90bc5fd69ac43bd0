"""Purification: x + sigma n, carried back to 0 along the prior's probability flow."""

from itertools import pairwise

from torch import Tensor

from invdiff.priors.prior import Prior
from invdiff.random import Noise


def purify(prior: Prior, x: Tensor, sigma: float, steps: int, noise: Noise) -> Tensor:
    """What the prior makes of x (B, C, H, W) when detail below sigma is hidden by noise; `steps` evaluations."""
    return flow(prior, x + sigma * noise.like(x), sigma, steps)


def flow(prior: Prior, x: Tensor, sigma: float, steps: int) -> Tensor:
    """x at noise level sigma at level 0, by Euler (DDIM) steps from levels in equal ratios; one step is D(x; sigma)."""
    ratio = min(prior.sigma_min / sigma, 1.0) ** (1 / steps)
    for a, b in pairwise([*(sigma * ratio**k for k in range(steps)), 0.0]):
        x_hat = prior(x, a)
        x = x_hat + (x - x_hat) * (b / a)
    return x
