"""One step from noise level sigma to sigma_next < sigma, given the denoised x0; variance-exploding coordinates."""

import math

from torch import Tensor

from invdiff.random import Noise


def renoise(x0: Tensor, sigma_next: float, noise: Noise) -> Tensor:
    """x0 + sigma_next n: the forward kernel applied to the estimate; no draw where sigma_next is 0."""
    return x0 + sigma_next * noise.like(x0) if sigma_next > 0 else x0


def ddim(x: Tensor, x_hat: Tensor, x0: Tensor, sigma: float, sigma_next: float, eta: float, noise: Noise) -> Tensor:
    """x0 + sigma_next (sqrt(1 - eta^2) eps + eta n),   eps = (x - x_hat) / sigma.

    Args:
        x_hat: the prior's own estimate D(x; sigma), which defines eps.
        x0: the estimate to continue from (x_hat after a data step).
        eta: share of fresh noise; 0 is deterministic, 1 forgets eps.

    Source: Song et al., Denoising Diffusion Implicit Models, 2021, equation 12, in the form of Chung et al., 2024.
    """
    if sigma_next == 0:
        return x0
    kept = (x - x_hat) * (math.sqrt(1 - eta**2) / sigma)
    return x0 + sigma_next * (kept + eta * noise.like(x) if eta > 0 else kept)


def ancestral(x: Tensor, x0: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
    """r x + (1 - r) x0 + sigma_next sqrt(1 - r) n,   r = (sigma_next / sigma)^2: the DDPM posterior step.

    Source: Ho et al., 2020, equations 6-7 (fixed small variance), divided by sqrt(abar).
    """
    if sigma_next == 0:
        return x0
    r = (sigma_next / sigma) ** 2
    return r * x + (1 - r) * x0 + sigma_next * math.sqrt(1 - r) * noise.like(x)


def multistep(x: Tensor, x0: Tensor, before: Tensor | None, sigma: float, sigma_next: float, ratio: float) -> Tensor:
    """(sigma_next / sigma) x + (1 - sigma_next / sigma) (x0 + (x0 - before) ratio / 2),   ratio = h / h_before.

    h = ln(sigma / sigma_next): x0 is carried on along its last change. `before`: the estimate one level above; None, or
    a step to 0, makes it the Euler step.

    Source: Lu et al., DPM-Solver++, 2022, Algorithm 2 (2M).
    """
    if sigma_next == 0:
        return x0
    ahead = x0 if before is None else x0 + (x0 - before) * (ratio / 2)
    return ahead + (sigma_next / sigma) * (x - ahead)
