"""s = sum over volume lines of the value between four voxels: Joseph's projector in three dimensions, on CUDA.

Slices are innermost: a program of the projector follows a block of rays at a block of heights, which share their place
across a line, so that neighbouring threads read neighbouring slices. Rays by rows and by columns are two launches of
one kernel, as in `joseph_triton`, with a frame of zeros. A program of the adjoint owns neighbouring pixels and slices
of one line and looks, view by view, for the rays within a pixel of them and on these for the heights within a slice:
nothing is atomic and results repeat to the bit. Both round positions alike and so have the same weights.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import pad

from invdiff.operators.kernels.cone_rays import ConeRays, depths
from invdiff.operators.kernels.joseph_triton import BEFORE, FRAME, SLACK, detector, lines_crossed, ray_at, reach, table
from invdiff.operators.kernels.rays import entries

ACROSS, HEIGHTS = 8, 32  # rays or pixels, and heights or slices, of a program


@triton.jit
def project_kernel(  # type: ignore[no-untyped-def]
    x, start, step, depth, change, used, slopes, levels, y, views, rays, heights, count, length, height,
    ACROSS: tl.constexpr, HEIGHTS: tl.constexpr,
):  # fmt: skip
    """y[b, v, r, h] += the sum along a ray of a framed volume; programs over blocks of rays and heights, views, items.

    depth, change: of a ray, in slices per unit of slope, at line 0 and per line. levels: see `_levels`.
    """
    v = tl.program_id(1)
    item = tl.program_id(2).to(tl.int64)
    if tl.load(used + v) == 0:
        return
    number = x.dtype.element_ty
    blocks = tl.cdiv(heights, HEIGHTS)
    r = tl.program_id(0) // blocks * ACROSS + tl.arange(0, ACROSS)
    h = tl.program_id(0) % blocks * HEIGHTS + tl.arange(0, HEIGHTS)
    known = r < rays
    first = tl.load(start + v * rays + r, mask=known, other=-4.0)
    slope = tl.load(step + v * rays + r, mask=known, other=0.0)
    near = tl.load(depth + v * rays + r, mask=known, other=0.0)
    recede = tl.load(change + v * rays + r, mask=known, other=0.0)
    climb, bottom = tl.load(slopes + h, mask=h < heights, other=0.0), tl.load(levels)
    across, column = (length + 3).to(tl.int64), height + 3
    x += item * count * across * column
    total = tl.zeros((ACROSS, HEIGHTS), number)
    low, high = lines_crossed(first, slope, count, length)
    for i in range(low, high):
        place = tl.minimum(tl.maximum(first + i * slope, 0.0), length + 1.0)
        z = climb * (near + i * recede)[:, None] - bottom
        z = tl.minimum(tl.maximum(z, 0.0), height + 1.0)
        j, k = place.to(tl.int32), z.to(tl.int32)
        f, g = (place - j.to(number))[:, None], z - k.to(number)
        at = x + ((i * across + j) * column)[:, None] + k
        lower, upper = tl.load(at), tl.load(at + 1)
        lower += f * (tl.load(at + column) - lower)
        upper += f * (tl.load(at + column + 1) - upper)
        total += lower + g * (upper - lower)
    out = y + (((item * views + v) * rays + r) * heights)[:, None] + h
    inside = known[:, None] & (h < heights)
    tl.store(out, tl.load(out, mask=inside) + total, mask=inside)


@triton.jit
def adjoint_kernel(  # type: ignore[no-untyped-def]
    y, start, step, depth, change, used, slopes, levels, turns, scan, x, views, rays, heights, count, length, height,
    ACROSS: tl.constexpr, HEIGHTS: tl.constexpr, REACH: tl.constexpr, CLIMB: tl.constexpr, SLACK: tl.constexpr,
):  # fmt: skip
    """x[b, i, j, k] = what the rays bring that pass within a pixel of j and a slice of k on line i.

    At most REACH rays of a view and CLIMB heights of a ray do. Programs over blocks of pixels and slices, lines, items.
    turns, scan: see `joseph_triton.adjoint_kernel`.
    """
    i = tl.program_id(1)
    item = tl.program_id(2).to(tl.int64)
    number = x.dtype.element_ty
    blocks = tl.cdiv(height, HEIGHTS)
    j = tl.program_id(0) // blocks * ACROSS + tl.arange(0, ACROSS)
    k = tl.program_id(0) % blocks * HEIGHTS + tl.arange(0, HEIGHTS)
    along = i.to(number)
    source, scale, shift = tl.load(scan), tl.load(scan + 1), tl.load(scan + 2)
    px, py = tl.load(scan + 7), tl.load(scan + 8)
    at_x = tl.load(scan + 3) + along * tl.load(scan + 5) + j.to(number) * px
    at_y = tl.load(scan + 4) + along * tl.load(scan + 6) + j.to(number) * py
    bottom, lowest, rise = tl.load(levels), tl.load(levels + 1), tl.load(levels + 2)
    column, slice_ = (j + 1).to(number), (k + 1).to(number)
    total = tl.zeros((ACROSS, HEIGHTS), number)
    for v in range(views):
        if tl.load(used + v) != 0:
            before = ray_at(at_x - px, at_y - py, turns + 2 * v, source, scale, shift, True, False)
            after = ray_at(at_x + px, at_y + py, turns + 2 * v, source, scale, shift, True, False)
            first = tl.ceil(tl.minimum(before, after) - SLACK).to(tl.int32)
            for q in tl.static_range(REACH):
                r = first + q
                known = (r >= 0) & (r < rays)
                at = v * rays + r
                place = tl.load(start + at, mask=known, other=-4.0)
                place = place + along * tl.load(step + at, mask=known, other=0.0)
                share = tl.maximum(1.0 - tl.abs(place - column), 0.0)
                distance = tl.load(depth + at, mask=known, other=1.0)
                distance = distance + along * tl.load(change + at, mask=known, other=0.0)
                middle = ((slice_ + bottom) / distance[:, None] - lowest) / rise
                under = tl.ceil(middle - (1.0 / (distance * rise))[:, None] - SLACK).to(tl.int32)
                sums = y + (((item * views + v) * rays + r) * heights)[:, None]
                for p in tl.static_range(CLIMB):
                    h = under + p
                    inside = known[:, None] & (h >= 0) & (h < heights)
                    z = tl.load(slopes + h, mask=inside, other=0.0) * distance[:, None] - bottom
                    part = tl.maximum(1.0 - tl.abs(z - slice_), 0.0)
                    total += share[:, None] * part * tl.load(sums + h, mask=inside, other=0.0)
    out = x + (((item * count + i) * length + j) * height)[:, None] + k
    tl.store(out, total, mask=(j < length)[:, None] & (k < height))


def project(x: Tensor, rays: ConeRays) -> Tensor:
    """Sums (B, view, ray, height) of volumes (B, D, H, W); float32 or float64."""
    y = x.new_zeros(len(x), len(rays.plane.views), len(rays.plane.lines), len(rays.slopes))
    for by_rows in (True, False):
        volume = x.permute(0, 2, 3, 1) if by_rows else x.permute(0, 3, 2, 1)
        count, length, height = volume.shape[1:]
        framed = pad(volume, (BEFORE, FRAME - BEFORE) * 2).contiguous()
        blocks = triton.cdiv(y.shape[2], ACROSS) * triton.cdiv(y.shape[3], HEIGHTS)
        arguments = (framed, *_tables(rays, by_rows, x), y, *y.shape[1:], count, length, height)
        _launch(project_kernel, (blocks, y.shape[1], len(x)), arguments, {})
    return y


def adjoint(sums: Tensor, rays: ConeRays, shape: tuple[int, int, int]) -> Tensor:
    """The transpose, to volumes (B, *shape)."""
    y, (height, rows, columns) = sums.contiguous(), shape
    turns, parts = rays.plane.views.to(y), []
    kind = {"REACH": reach(rays.plane, (rows, columns)), "CLIMB": _climb(rays, (rows, columns)), "SLACK": SLACK}
    for by_rows, (count, length) in ((True, (rows, columns)), (False, (columns, rows))):
        part = y.new_empty(len(y), count, length, height)
        blocks = triton.cdiv(length, ACROSS) * triton.cdiv(height, HEIGHTS)
        tables = (*_tables(rays, by_rows, y), turns, detector(rays.plane, by_rows).to(y))
        arguments = (y, *tables, part, *y.shape[1:], count, length, height)
        _launch(adjoint_kernel, (blocks, count, len(y)), arguments, kind)
        parts.append(part)
    return parts[0].permute(0, 3, 1, 2) + parts[1].permute(0, 3, 2, 1)


def _launch(kernel: Any, grid: tuple[int, int, int], arguments: tuple[Any, ...], kind: dict[str, Any]) -> None:
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, ACROSS=ACROSS, HEIGHTS=HEIGHTS, **kind, num_warps=4, enable_fp_fusion=False)


def _tables(rays: ConeRays, by_rows: bool, like: Tensor) -> tuple[Tensor, ...]:
    """Start and step of every ray, its depth and the change of it, which views have such rays, slopes, `_levels`."""
    start, step, _, used = table(rays.plane, by_rows, like)
    far = (t / rays.dz for t in depths(rays.plane, entries(rays.plane, by_rows), by_rows))
    return start, step, *(t.to(like).contiguous() for t in far), used, rays.slopes.to(like), _levels(rays).to(like)


def _levels(rays: ConeRays) -> Tensor:
    """What to take off slope times depth for a place in the frame, the lowest slope, and slope per height."""
    rise = _rise(rays)
    return torch.tensor([rays.bottom / rays.dz - BEFORE, float(rays.slopes[0]), rise], dtype=torch.float64)


def _rise(rays: ConeRays) -> float:
    return float(rays.slopes[1] - rays.slopes[0]) if len(rays.slopes) > 1 else 1.0


def _climb(rays: ConeRays, shape: tuple[int, int]) -> int:
    """Most heights of a ray within a slice of one voxel: at the volume's corner nearest to the source."""
    top, left, dy, dx, source = rays.plane.scan[:5]
    ends = (top, left), (top - dy * (shape[0] - 1), left + dx * (shape[1] - 1))
    corner = math.hypot(*(max(abs(a), abs(b)) for a, b in zip(*ends, strict=True)))
    return math.floor(2 * rays.dz / ((source - corner) * _rise(rays)) + 2 * SLACK) + 1
