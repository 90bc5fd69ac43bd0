"""What the numbers of a CT geometry must be, and what is said where they are not."""

import math
from collections.abc import Sequence
from typing import Any

import torch

LARGEST_ANGLE = 4 * math.pi  # two turns; degrees are larger


def default_bins(shape: Sequence[int], pixel: Any, width: float) -> int:
    """Bins of this width (mm, at the axis) that cover the image's diagonal."""
    diagonal = math.hypot(*(n * d for n, d in zip(image_sizes(shape), pixel_pair(pixel), strict=True)))
    return math.ceil(diagonal / length("bin_width", width) - 1e-6)


def checked_angles(angles: Any) -> tuple[float, ...]:
    t = torch.as_tensor(angles, dtype=torch.float64)
    if t.ndim != 1 or len(t) == 0:
        raise ValueError(f"angles must be one number per view, (view,), got {tuple(t.shape)}.")
    if not bool(torch.isfinite(t).all()):
        raise ValueError(f"{int((~torch.isfinite(t)).sum())} of the {len(t)} angles are not finite.")
    largest = float(t.abs().max())
    if largest > LARGEST_ANGLE:
        raise ValueError(
            f"angles are in radians and reach {largest:g}, more than two turns; these look like degrees. Convert them "
            "with torch.deg2rad, or reduce them modulo 2 pi."
        )
    return tuple(t.tolist())


def image_sizes(shape: Sequence[int]) -> tuple[int, int]:
    if len(shape) != 2:
        raise ValueError(f"shape must be (H, W) of the image, got {tuple(shape)}.")
    return count("H", shape[0]), count("W", shape[1])


def count(name: str, n: Any) -> int:
    if int(n) != n or n < 1:
        raise ValueError(f"{name} must be a positive whole number, got {n}.")
    return int(n)


def finite(name: str, value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {value}.")
    return number


def length(name: str, value: Any) -> float:
    number = finite(name, value)
    if number <= 0:
        raise ValueError(f"{name} is a length in mm and must be positive, got {value}. Does the file give no spacing?")
    return number


def pair(name: str, value: Any) -> tuple[float, float]:
    if len(value) != 2:
        raise ValueError(f"{name} must be two numbers (y, x) in mm, got {value}.")
    return finite(name, value[0]), finite(name, value[1])


def pixel_pair(pixel: Any) -> tuple[float, float]:
    dy, dx = pixel_sizes(pixel, ("dy", "dx"))
    return dy, dx


def pixel_sizes(pixel: Any, axes: Sequence[str]) -> tuple[float, ...]:
    """One size for all axes, or one for each, mm."""
    t = torch.as_tensor(pixel, dtype=torch.float64).flatten().tolist()
    if len(t) not in (1, len(axes)):
        raise ValueError(f"pixel must be one size or ({', '.join(axes)}) in mm, got {pixel}.")
    return tuple(length("pixel", d) for d in (t * len(axes) if len(t) == 1 else t))


def volume_sizes(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(f"shape must be (D, H, W) of the volume, got {tuple(shape)}.")
    return count("D", shape[0]), count("H", shape[1]), count("W", shape[2])


def numbers(name: str, values: Any, axes: Sequence[str], unit: str) -> tuple[float, ...]:
    """One finite number for each axis."""
    if torch.as_tensor(values).shape != (len(axes),):
        raise ValueError(f"{name} must be {len(axes)} numbers ({', '.join(axes)}) in {unit}, got {values}.")
    return tuple(finite(name, value) for value in values)
