"""Noise levels: decreasing grids sigma_0 > ... > sigma_{N-1} > 0, to which samplers append a final 0."""

import torch
from torch import Tensor

from invdiff.checks import nearest, require
from invdiff.diffusion.vp import Schedule


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """sigma_i = (smax^(1/rho) + i/(N-1) (smin^(1/rho) - smax^(1/rho)))^rho, (steps,) float64.

    Source: Karras et al., 2022, equation 5.
    """
    _check(steps, sigma_min, sigma_max)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (high + ramp * (low - high)) ** rho


def vp_linear(steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Levels of the DDPM schedule (1000 times, beta linear from 1e-4 to 0.02), equally spaced in time, (steps,).

    sigma_t = sqrt((1 - abar_t) / abar_t), interpolated in log sigma, from the time of sigma_max (at most 157.4, that of
    t = 999) to that of sigma_min (at least 0.01, t = 0).

    Source: Ho et al., Denoising Diffusion Probabilistic Models, 2020, section 4.
    """
    _check(steps, sigma_min, sigma_max)
    ddpm = Schedule.linear()
    last, first = ddpm.time(torch.tensor([sigma_min, sigma_max], dtype=torch.float64)).tolist()
    return ddpm.sigma(torch.linspace(first, last, steps, dtype=torch.float64))


GRIDS = {"karras": karras, "vp": vp_linear}


def levels(grid: str, steps: int, sigma_min: float, sigma_max: float) -> list[float]:
    """The grid of that name and a final 0, as numbers.

    "vp" is what papers in the DDPM convention use; of 50 of its levels between 10 and 0.01 eight lie below 0.34, where
    data and prior settle the details. "karras" has 20 there.

    Raises:
        ValueError: an unknown grid, fewer than one step, or an empty range.
    """
    if grid not in GRIDS:
        raise ValueError(f"unknown grid {grid!r}.{nearest(grid, GRIDS)}")
    return [*GRIDS[grid](steps, sigma_min, sigma_max).tolist(), 0.0]


def _check(steps: int, sigma_min: float, sigma_max: float) -> None:
    require("steps", steps, at_least=1)
    require("sigma_min", sigma_min, above=0)
    require("sigma_max", sigma_max, above=sigma_min)
