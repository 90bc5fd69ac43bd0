"""`sense.expand` and `sense.combine` as one Triton kernel each, opaque to torch.compile.

A program takes BLOCK neighbouring pixels of one row through all coils: of x (or of the sum) it keeps them in registers,
of the stack it touches every byte once. Complex numbers are pairs of reals, read as vectors and split. Sums run over
the coils in order, without atomics. Products and sums are never fused into one rounding: these kernels wait for memory,
and so round on a device as they do in the interpreter, whatever Triton's default.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256  # pixels, 16 bytes of each operand for each of a program's 128 threads


@triton.jit
def _load(pointer, lanes, inside, dtype: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Real and imaginary parts of BLOCK complex numbers, zero outside."""
    pairs = tl.load(pointer + lanes, mask=inside, other=0.0).to(dtype)
    return tl.split(tl.reshape(pairs, (BLOCK, 2)))


@triton.jit
def _store(pointer, lanes, inside, re, im, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    tl.store(pointer + lanes, tl.reshape(tl.join(re, im), (2 * BLOCK,)), mask=inside)


@triton.jit
def expand_kernel(  # type: ignore[no-untyped-def]
    x, maps, z, item, image, stack, D, H, W, GD, GH, GW, coils: tl.constexpr, BLOCK: tl.constexpr
):
    """z[b, c, d, h, w] = maps[b, c, d, h, w] x[b, 0, d, h, w], zero outside (D, H, W); programs over rows of the grid.

    item, image and stack are the steps in reals from item to item of the maps, map to map and coil image to coil image.
    """
    blocks = (GW + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // blocks).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    d, h = row // GH, row % GH
    lanes = 2 * BLOCK * (tl.program_id(0) % blocks) + tl.arange(0, 2 * BLOCK)
    inside = lanes < tl.where((d < D) & (h < H), 2 * W, 0)
    start = 2 * W * (d * H + h)
    dtype = z.dtype.element_ty
    re, im = _load(x + b * image + start, lanes, inside, dtype, BLOCK)
    maps += b * item + start
    z += b * coils * stack + 2 * GW * row
    for _ in range(coils):
        s_re, s_im = _load(maps, lanes, inside, dtype, BLOCK)
        _store(z, lanes, lanes < 2 * GW, s_re * re - s_im * im, s_re * im + s_im * re, BLOCK)
        maps += image
        z += stack


@triton.jit
def combine_kernel(  # type: ignore[no-untyped-def]
    z, maps, x, item, image, stack, D, H, W, GD, GH, GW, coils: tl.constexpr, BLOCK: tl.constexpr
):
    """x[b, 0, d, h, w] = sum_c conj(maps[b, c, d, h, w]) z[b, c, d, h, w]; programs over the image's rows."""
    blocks = (W + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // blocks).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    lanes = 2 * BLOCK * (tl.program_id(0) % blocks) + tl.arange(0, 2 * BLOCK)
    inside = lanes < 2 * W
    maps += b * item + 2 * W * row
    z += b * coils * stack + 2 * GW * (GH * (row // H) + row % H)
    dtype = x.dtype.element_ty
    re = tl.full((BLOCK,), 0.0, dtype)
    im = tl.full((BLOCK,), 0.0, dtype)
    for _ in range(coils):
        s_re, s_im = _load(maps, lanes, inside, dtype, BLOCK)
        z_re, z_im = _load(z, lanes, inside, dtype, BLOCK)
        re += s_re * z_re + s_im * z_im
        im += s_re * z_im - s_im * z_re
        maps += image
        z += stack
    _store(x + b * image + 2 * W * row, lanes, inside, re, im, BLOCK)


def expand(x: Tensor, maps: Tensor, grid: Sequence[int]) -> Tensor:
    """`sense.expand` for maps of the image's size."""
    out: Tensor = torch.ops.invdiff.expand.default(x, maps, grid)
    return out


def combine(z: Tensor, maps: Tensor) -> Tensor:
    """`sense.combine` to the maps' size."""
    out: Tensor = torch.ops.invdiff.combine.default(z, maps)
    return out


def _expanded(x: Tensor, maps: Tensor, grid: Sequence[int]) -> Tensor:
    """An empty result, which is all that tracing needs."""
    return x.new_empty((len(x), maps.shape[1], *grid), dtype=torch.promote_types(x.dtype, maps.dtype))


def _combined(z: Tensor, maps: Tensor) -> Tensor:
    return z.new_empty((len(z), 1, *maps.shape[2:]), dtype=torch.promote_types(z.dtype, maps.dtype))


def _expand(x: Tensor, maps: Tensor, grid: Sequence[int]) -> Tensor:
    z = _expanded(x, maps, grid)
    _launch(expand_kernel, x, maps, z)
    return z


def _combine(z: Tensor, maps: Tensor) -> Tensor:
    x = _combined(z, maps)
    _launch(combine_kernel, z, maps, x)
    return x


def _launch(kernel: Any, data: Tensor, maps: Tensor, out: Tensor) -> None:
    """Run a kernel over the rows of its result; where image and grid are of one size they are one long row."""
    if torch.is_grad_enabled() and (data.requires_grad or maps.requires_grad):
        raise RuntimeError("autograd does not follow expand and combine. Wrap what they are part of in linear_map.")
    image, rows = tuple(maps.shape[2:]), tuple(out.shape[2:])
    grid = max(tuple(data.shape[2:]), rows, key=math.prod)
    if image == grid:
        image = grid = rows = (math.prod(grid),)
    *outer, width = rows
    (pixels, cells), coils = (2 * math.prod(sizes) for sizes in (image, grid)), maps.shape[1]
    with torch.cuda.device_of(data):
        kernel[math.prod(outer) * triton.cdiv(width, BLOCK), len(data)](
            *(_pairs(t) for t in (data, maps, out)),
            *(0 if len(maps) == 1 else coils * pixels, pixels, cells),
            *(*(1,) * (3 - len(image)), *image),
            *(*(1,) * (3 - len(grid)), *grid),
            coils=coils,  # a constant, since older interpreters cannot loop to a variable
            BLOCK=BLOCK,
            num_warps=4,
            enable_fp_fusion=False,
        )


def _pairs(t: Tensor) -> Tensor:
    return torch.view_as_real(t.resolve_conj().contiguous())


# Registered piece by piece: `torch.library.custom_op` doubles the time of a call and takes seconds for the first.
_library = torch.library.Library("invdiff", "FRAGMENT")
for _name, _arguments, _run, _trace in (
    ("expand", "Tensor x, Tensor maps, SymInt[] grid", _expand, _expanded),
    ("combine", "Tensor z, Tensor maps", _combine, _combined),
):
    _library.define(f"{_name}({_arguments}) -> Tensor")
    _library.impl(_name, _run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"invdiff::{_name}", _trace, lib=_library)
