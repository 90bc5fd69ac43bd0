"""x'(r) = x(r - d)  <=>  y'(k) = y(k) exp(-2 pi i k d / N): the field of view moved by a linear phase in k-space.

For scans whose object is off centre: d is the way it is to move, in pixels, whole or not. What leaves on one side of
the image enters on the other.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from invdiff.shapes import Shape


def shift_samples(samples: Tensor, trajectory: Tensor, shift: Sequence[float], shape: Shape) -> Tensor:
    """Samples (..., n) of the object moved by `shift` pixels.

    Args:
        trajectory: (n, d), cycles per field of view. shift: d numbers, rows first. shape: the d image sizes.

    Raises:
        TypeError: real samples.
        ValueError: numbers of axes or samples that disagree.
    """
    if not samples.is_complex():
        raise TypeError(f"samples must be complex, got {samples.dtype}.")
    if tuple(trajectory.shape) != (samples.shape[-1], len(shape)) or len(shift) != len(shape):
        raise ValueError(
            f"a shift of {len(shift)} axes for images {tuple(shape)} needs a trajectory ({samples.shape[-1]}, "
            f"{len(shape)}), got {tuple(trajectory.shape)}."
        )
    step = torch.tensor([d / n for d, n in zip(shift, shape, strict=True)], dtype=torch.float64)
    turns = trajectory.to("cpu", torch.float64) @ step
    phase = torch.polar(torch.ones_like(turns), -2 * math.pi * turns)
    return samples * phase.to(samples.device, samples.dtype)


def shift_kspace(kspace: Tensor, shift: Sequence[float]) -> Tensor:
    """Cartesian k-space (..., H, W), centred, of the object moved by `shift` (rows, columns) pixels.

    Raises:
        TypeError, ValueError: see `shift_samples`.
    """
    shape = tuple(kspace.shape[-2:])
    axes = [torch.arange(n, dtype=torch.float64) - n // 2 for n in shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 1)
    return shift_samples(kspace.flatten(-2), points, shift, shape).unflatten(-1, shape)
