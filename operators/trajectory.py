"""k_j in cycles per field of view, -N/2 <= k < N/2 along every axis: non-Cartesian sampling positions, checked.

Axis 0 belongs to image rows, axis 1 to columns (in three dimensions: slices, rows, columns).
"""

import math
from typing import Any

import torch
from torch import Tensor

from invdiff.shapes import Shape

BEYOND = 1.0  # cycles past N/2 that gradient delays and off-centre read-outs reach; the transform is periodic there
LEAST = 16  # pixels from which on a whole trajectory within +-pi can be told from one in cycles


def checked_trajectory(trajectory: Any, shape: Shape, owner: str) -> Tensor:
    """A trajectory (n_samples, d) or (B, n_samples, d) as float64 (B or 1, n_samples, d) on the CPU.

    Args:
        trajectory: real tensor or array; d is 2 or 3.
        shape: the d image sizes.
        owner: how messages call whoever asks.

    Raises:
        TypeError: complex positions.
        ValueError: another layout, values that are not finite or out of range, or positions in radians or in cycles per
            pixel.
    """
    k = torch.as_tensor(trajectory).detach()
    if k.is_complex():
        raise TypeError(f"{owner}: the trajectory is complex. Use torch.stack((ky, kx), -1): rows first.")
    _check_layout(k, shape, owner)
    k = k.to("cpu", torch.float64)
    k = k[None] if k.ndim == 2 else k
    bad = ~torch.isfinite(k).all(-1)
    if bool(bad.any()):
        first = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{owner}: the trajectory has {int(bad.sum())} positions that are not finite, the first at {first}. "
            "Leave these samples out of trajectory and data."
        )
    _check_units(k, shape, owner)
    _check_range(k, shape, owner)
    return k.contiguous()


def _check_layout(k: Tensor, shape: Shape, owner: str) -> None:
    d, came = len(shape), tuple(k.shape)
    if k.ndim in (2, 3) and came[-1] == d and 0 not in came:
        return
    hint = ""
    if k.ndim in (2, 3) and came[-2] == d:
        hint = " Its axes are exchanged: use trajectory.mT."
    elif k.ndim > 3 and came[-1] == d:
        hint = f" Flatten read-outs with trajectory.reshape(-1, {d})."
    raise ValueError(
        f"{owner}: the trajectory must be (n_samples, {d}) or (B, n_samples, {d}) for images {tuple(shape)}, got "
        f"{came}.{hint}"
    )


def _check_units(k: Tensor, shape: Shape, owner: str) -> None:
    reach = float(k.abs().max())
    if min(shape) < LEAST or reach == 0 or reach > 1.01 * math.pi:
        return
    sizes = " and ".join(str(n / 2) for n in dict.fromkeys(shape))
    unit, factor = ("cycles per pixel", "N") if reach <= 0.51 else ("radians per pixel", "N / (2 pi)")
    raise ValueError(
        f"{owner}: the trajectory reaches {reach:.3g} only, which looks like {unit}; wanted are cycles per field of "
        f"view, up to {sizes} here. Multiply each axis by {factor}; if the scan does cover just the centre of k-space, "
        "reconstruct an image of fewer pixels."
    )


def _check_range(k: Tensor, shape: Shape, owner: str) -> None:
    for axis, n in enumerate(shape):
        reach = float(k[..., axis].abs().max())
        if reach > n / 2 + BEYOND:
            raise ValueError(
                f"{owner}: the trajectory reaches {reach:.6g} cycles per field of view along axis {axis}, where an "
                f"image of {n} pixels resolves {n / 2:g}. Use a larger image, leave the outer samples out, or convert "
                "the units (from 1/m: multiply by the field of view in m)."
            )


def occupied_cells(k: Tensor, shape: Shape) -> Tensor:
    """Which points of the Cartesian grid have a sample within half a cycle along every axis, (B, *N) bool, centred.

    Args:
        k: (B, n_samples, d).
    """
    sizes = torch.tensor(shape)
    index = ((k + 0.5).floor().long() + sizes // 2) % sizes
    flat = index[..., 0]
    for axis in range(1, len(shape)):
        flat = flat * shape[axis] + index[..., axis]
    cells = torch.zeros(len(k), math.prod(shape), dtype=torch.bool)
    return cells.scatter_(1, flat, True).unflatten(1, shape)
