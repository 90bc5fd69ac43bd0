"""Blur kernels (n, n), non-negative, summing to one; the centre is entry (n // 2, n // 2)."""

import math

import torch
from torch import Tensor

from invdiff.random import streams

_STEPS = 400


def gaussian_kernel(sigma: float, size: int) -> Tensor:
    """exp(-|r|^2 / 2 sigma^2) at the pixel centres, normalised, (size, size) float64.

    Args:
        sigma: standard deviation in pixels, positive.
        size: pixels on a side, odd or even.

    Raises:
        ValueError: sigma or size not positive.
    """
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"gaussian_kernel: sigma must be positive, in pixels, got {sigma}.")
    _check_size("gaussian_kernel", size)
    r = (torch.arange(size, dtype=torch.float64) - size // 2) / sigma
    profile = torch.exp(-0.5 * r**2)
    return torch.outer(profile, profile) / profile.sum() ** 2


def motion_kernel(size: int, intensity: float, seed: int) -> Tensor:
    """Exposure along a random smooth trajectory, (size, size) float64.

    The direction of motion turns at a rate that is itself a random walk pulled back to zero (an Ornstein-Uhlenbeck
    process), and the speed varies smoothly by a factor; both grow with `intensity`. The path is centred on its mean
    position, scaled so that its farthest point lies at three quarters of the half width, and exposed bilinearly.

    Args:
        size: pixels on a side, odd or even.
        intensity: 0 a straight uniform motion, 1 many turns.
        seed: the same seed gives the same kernel on every machine.

    Raises:
        ValueError: size not positive, intensity outside [0, 1].
    """
    _check_size("motion_kernel", size)
    if not 0 <= intensity <= 1:
        raise ValueError(f"motion_kernel: intensity must be in [0, 1], got {intensity}.")
    path = _trajectory(intensity, seed)
    half = min(size // 2, (size - 1) // 2)
    path = 0.75 * half * path / path.norm(dim=1).max() + size // 2
    return _expose(path, size)


def _check_size(what: str, size: int) -> None:
    if size != int(size) or size < 1:
        raise ValueError(f"{what}: size must be a whole number of 1 or more pixels, got {size}.")


def _trajectory(intensity: float, seed: int) -> Tensor:
    """(steps, 2) positions about their mean, in arbitrary units."""
    noise, _ = streams(seed, 1)
    start, turns, speeds = noise.like(torch.zeros(1, 3, _STEPS, dtype=torch.float64))[0]
    angle = 2 * torch.pi * start[0] + (intensity * _smooth(turns)).cumsum(0) * (8 * torch.pi / _STEPS)
    speed = torch.exp(intensity * _smooth(speeds))
    path = (speed * torch.stack((torch.sin(angle), torch.cos(angle)))).cumsum(1).T
    return path - path.mean(0)


def _smooth(noise: Tensor, memory: int = _STEPS // 10) -> Tensor:
    """A stationary first-order autoregression of unit variance with the given memory in steps."""
    decay = math.exp(-1 / memory)
    state, out = noise[0], []
    for n in noise:
        state = decay * state + math.sqrt(1 - decay**2) * n
        out.append(state)
    return torch.stack(out)


def _expose(path: Tensor, size: int) -> Tensor:
    """Bilinear weights of all positions, added up and normalised."""
    kernel = torch.zeros(size, size, dtype=path.dtype)
    base = path.floor().long()
    for dy in (0, 1):
        for dx in (0, 1):
            cell = base + torch.tensor((dy, dx))
            weight = (1 - (path - cell).abs()).prod(1)
            inside = (cell < size).all(1)  # the last row and column are reached with weight zero only
            kernel.index_put_(tuple(cell[inside].T), weight[inside], accumulate=True)
    return kernel / kernel.sum()
