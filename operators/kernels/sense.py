"""z_c = P s_c x   and   x = sum_c conj(s_c) P^T z_c: coil images on a grid, and back; each is the other's adjoint.

s_c are the coil maps and P places the image in the first corner of a grid of its size or larger, zeros elsewhere. In
plain torch, and fused for CUDA: expanding writes the grid once, padding included; combining reads each coil image once
and stores no product. In between stand transforms, so that weights in k-space are not for these two.

Neither is known to autograd: operators wrap what they build of them in `linear_map`.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from invdiff.operators.kernels.backend import backend
from invdiff.shapes import Shape


def fused(device: torch.device) -> bool:
    """Whether one kernel does a whole stack of coils at once on this device."""
    return backend(device, ("triton", "torch")) == "triton"


def expand(x: Tensor, maps: Tensor, grid: Shape | None = None) -> Tensor:
    """P s_c x, (B, coil, *grid).

    Args:
        x: (B, 1, *N) complex, of two or three axes N.
        maps: (B or 1, coil, *N) complex, or one constant per coil, (B or 1, coil, 1, ..., 1).
        grid: sizes of at least N along every axis; None is N.

    Raises:
        ValueError: shapes that do not fit.
    """
    grid = tuple(x.shape[2:] if grid is None else grid)
    _check("expand", x, 1, maps, x.shape[2:], grid)
    if fused(x.device) and maps.shape[2:] == x.shape[2:]:
        from invdiff.operators.kernels import sense_triton

        return sense_triton.expand(x, maps, grid)
    return expand_reference(x, maps, grid)


def combine(z: Tensor, maps: Tensor, shape: Shape | None = None) -> Tensor:
    """sum_c conj(s_c) P^T z_c, (B, 1, *N).

    Coils are added in order on one thread each, so that results repeat to the bit.

    Args:
        z: (B, coil, *grid) complex.
        maps: as for `expand`.
        shape: N, at most the grid's sizes; None is the grid.

    Raises:
        ValueError: shapes that do not fit.
    """
    shape = tuple(z.shape[2:] if shape is None else shape)
    _check("combine", z, maps.shape[1], maps, shape, z.shape[2:])
    if fused(z.device) and maps.shape[2:] == shape:
        from invdiff.operators.kernels import sense_triton

        return sense_triton.combine(z, maps)
    return combine_reference(z, maps, shape)


def expand_reference(x: Tensor, maps: Tensor, grid: Shape) -> Tensor:
    """`expand` in plain torch."""
    z = maps * x
    room = [(0, m - n) for m, n in zip(grid, z.shape[2:], strict=True)]
    return pad(z, [end for pair in reversed(room) for end in pair]) if any(m for _, m in room) else z


def combine_reference(z: Tensor, maps: Tensor, shape: Shape) -> Tensor:
    """`combine` in plain torch."""
    corner = (slice(None), slice(None), *(slice(n) for n in shape))
    return (maps.conj() * z[corner]).sum(1, keepdim=True)


def _check(name: str, t: Tensor, channels: int, maps: Tensor, shape: Shape, grid: Shape) -> None:
    """Kernels read memory by these sizes, so nothing else may reach them."""
    fits = maps.ndim == t.ndim and len(maps) in (1, len(t)) and t.shape[1] == channels
    fits = fits and tuple(maps.shape[2:]) in (tuple(shape), (1,) * len(shape))
    if not fits or len(grid) != len(shape) or any(m < n for m, n in zip(grid, shape, strict=True)):
        raise ValueError(
            f"{name}: maps {tuple(maps.shape)}, data {tuple(t.shape)}, image {tuple(shape)} and grid {tuple(grid)} do "
            "not fit. Wanted are maps (B or 1, coil, *N), images (B, 1, *N) and a grid of N or more along every axis."
        )
