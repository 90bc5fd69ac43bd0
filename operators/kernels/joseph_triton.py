"""y = sum over image lines of (1 - f) x[j] + f x[j + 1]: Joseph's projector on CUDA.

Four images are packed innermost, so that a tap is one load of 16 bytes and weights are shared. Rays that go by rows and
those that go by columns are two launches of one kernel, the second on a transposed copy; images have a frame of zeros
as in `joseph_numba`. A program of the adjoint owns neighbouring pixels of one line and looks, view by view, for the
rays that pass within a pixel of them: nothing is atomic and results repeat to the bit. Positions come from a table of
the sinogram's size, made in double precision for each call; both kernels round them alike, as multiplication and
addition are not fused there, and so have the same weights.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from invdiff.operators.kernels.rays import Rays, entries

LANES = 4
BLOCK = 128  # bins or pixels of a program, one for each of its threads
BEFORE, FRAME = 1, 3  # zeros before a line of an image, and in all
SLACK = 0.05  # of the distance between two rays: rounding of `ray_at`


@triton.jit
def lines_crossed(start, step, count, length):  # type: ignore[no-untyped-def]
    """Range of lines on which some ray of the block is inside the framed image; no exact bounds are needed."""
    steep = tl.abs(step) > 1e-6
    inverse = 1.0 / tl.where(steep, step, 1.0)
    a, b = (0.0 - start) * inverse, (length + 1.0 - start) * inverse
    meets = (start > 0) & (start < length + 1.0)
    low = tl.where(steep, tl.minimum(a, b) - 1.0, tl.where(meets, 0.0, count))
    high = tl.where(steep, tl.maximum(a, b) + 2.0, tl.where(meets, count, 0.0))
    low = tl.min(tl.minimum(tl.maximum(low, 0.0), count), 0)
    return low.to(tl.int32), tl.max(tl.minimum(tl.maximum(high, 0.0), count), 0).to(tl.int32)


@triton.jit
def project_kernel(  # type: ignore[no-untyped-def]
    x, start, step, weight, used, y, views, bins, per_bin, count, length, LANES: tl.constexpr, BLOCK: tl.constexpr
):
    """y[pack, v, b] += the bin's rays through one pack of framed images; programs over blocks of bins, views, packs."""
    v = tl.program_id(1)
    pack = tl.program_id(2).to(tl.int64)
    if tl.load(used + v) == 0:
        return
    number = x.dtype.element_ty
    b = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = b < bins
    lanes = tl.arange(0, LANES)
    stride = length + 3
    x += pack * count * stride * LANES
    total = tl.zeros((BLOCK, LANES), number)
    for q in range(per_bin):
        r = (v * bins + b) * per_bin + q
        first = tl.load(start + r, mask=inside, other=-4.0)
        slope = tl.load(step + r, mask=inside, other=0.0)
        low, high = lines_crossed(first, slope, count, length)
        line = tl.zeros((BLOCK, LANES), number)
        for i in range(low, high):
            place = first + i * slope
            place = tl.minimum(tl.maximum(place, 0.0), length + 1.0)
            j = place.to(tl.int32)
            f = (place - j.to(number))[:, None]
            at = x + ((i * stride + j) * LANES)[:, None] + lanes
            left = tl.load(at)
            line += tl.fma(tl.broadcast_to(f, (BLOCK, LANES)), tl.load(at + LANES) - left, left)
        total += tl.load(weight + r, mask=inside, other=0.0)[:, None] * line
    out = y + ((pack * views + v) * bins + b)[:, None] * LANES + lanes
    tl.store(out, tl.load(out, mask=inside[:, None]) + total, mask=inside[:, None])


@triton.jit
def ray_at(x, y, turn, source, scale, shift, FAN: tl.constexpr, CURVED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Number, not rounded, of the view's ray that meets the point; `detector` explains the numbers."""
    cos, sin = tl.load(turn), tl.load(turn + 1)
    u = x * cos + y * sin
    if FAN:
        u = u / (source + y * cos - x * sin)
        if CURVED:
            u = _atan(u)
    return u * scale + shift


@triton.jit
def _atan(q):  # type: ignore[no-untyped-def]
    """Good to 1e-5: Abramowitz and Stegun 4.4.49."""
    large = tl.abs(q) > 1
    z = tl.where(large, 1 / tl.where(large, q, 1.0), q)
    z2 = z * z
    angle = z * (0.999866 + z2 * (-0.3302995 + z2 * (0.180141 + z2 * (-0.085133 + z2 * 0.0208351))))
    return tl.where(large, tl.where(q > 0, 1.5707964, -1.5707964) - angle, angle)


@triton.jit
def adjoint_kernel(  # type: ignore[no-untyped-def]
    y, start, step, weight, used, turns, scan, x, views, bins, per_bin, count, length,
    LANES: tl.constexpr, BLOCK: tl.constexpr, REACH: tl.constexpr, SLACK: tl.constexpr, FAN: tl.constexpr,
    CURVED: tl.constexpr,
):  # fmt: skip
    """x[pack, i, j] = what the rays bring that pass within a pixel of j on line i, at most REACH of them per view.

    Programs over blocks of pixels, lines, packs. turns: cos t, sin t of the views. scan: see `detector`.
    """
    i = tl.program_id(1)
    pack = tl.program_id(2).to(tl.int64)
    number = x.dtype.element_ty
    j = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    lanes = tl.arange(0, LANES)
    along, rays = i.to(number), bins * per_bin
    source, scale, shift = tl.load(scan), tl.load(scan + 1), tl.load(scan + 2)
    px, py = tl.load(scan + 7), tl.load(scan + 8)
    at_x = tl.load(scan + 3) + along * tl.load(scan + 5) + j.to(number) * px
    at_y = tl.load(scan + 4) + along * tl.load(scan + 6) + j.to(number) * py
    total = tl.zeros((BLOCK, LANES), number)
    for v in range(views):
        if tl.load(used + v) != 0:
            before = ray_at(at_x - px, at_y - py, turns + 2 * v, source, scale, shift, FAN, CURVED)
            after = ray_at(at_x + px, at_y + py, turns + 2 * v, source, scale, shift, FAN, CURVED)
            first = tl.ceil(tl.minimum(before, after) - SLACK).to(tl.int32)
            for k in tl.static_range(REACH):
                r = first + k
                inside = (r >= 0) & (r < rays)
                at = v * rays + r
                place = tl.load(start + at, mask=inside, other=-4.0)
                place = place + along * tl.load(step + at, mask=inside, other=0.0)
                share = tl.maximum(1.0 - tl.abs(place - (j + 1).to(number)), 0.0)
                share = share * tl.load(weight + at, mask=inside, other=0.0)
                values = y + ((pack * views + v) * bins + r // per_bin)[:, None] * LANES + lanes
                total += share[:, None] * tl.load(values, mask=inside[:, None], other=0.0)
    out = x + ((pack * count + i) * length + j)[:, None] * LANES + lanes
    tl.store(out, total, mask=(j < length)[:, None])


def project(x: Tensor, rays: Rays) -> Tensor:
    """A x, (B, H, W) to (B, view, bin); float32 or float64."""
    packs = math.ceil(len(x) / LANES)
    y = x.new_zeros(packs, len(rays.views), rays.bins, LANES)
    for by_rows, images in ((True, x), (False, x.mT)):
        count, length = images.shape[1:]
        framed = torch.nn.functional.pad(_packed(images), (0, 0, BEFORE, FRAME - BEFORE)).contiguous()
        paths = table(rays, by_rows, x)
        grid = triton.cdiv(rays.bins, BLOCK), len(rays.views), packs
        sizes = (len(rays.views), rays.bins, rays.per_bin, count, length)
        _launch(project_kernel, grid, (framed, *paths, y, *sizes), {})
    return _unpacked(y, len(x))


def adjoint(y: Tensor, rays: Rays, shape: tuple[int, int]) -> Tensor:
    """A^T y, (B, view, bin) to (B, *shape)."""
    packed, turns = _packed(y).contiguous(), rays.views.to(y.dtype)
    nearby = reach(rays, shape)
    parts = []
    for by_rows, (count, length) in ((True, shape), (False, shape[::-1])):
        x = y.new_empty(len(packed), count, length, LANES)
        paths, scan = table(rays, by_rows, y), detector(rays, by_rows).to(y)
        grid = triton.cdiv(length, BLOCK), count, len(packed)
        sizes = (len(rays.views), rays.bins, rays.per_bin, count, length)
        kind = {"REACH": nearby, "SLACK": SLACK, "FAN": rays.scan[4] > 0, "CURVED": rays.scan[6] > 0}
        _launch(adjoint_kernel, grid, (packed, *paths, turns, scan, x, *sizes), kind)
        parts.append(_unpacked(x, len(y)))
    return parts[0] + parts[1].mT


def _launch(kernel: Any, grid: tuple[int, int, int], arguments: tuple[Any, ...], kind: dict[str, Any]) -> None:
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](*arguments, LANES=LANES, BLOCK=BLOCK, **kind, num_warps=4, enable_fp_fusion=False)


def _packed(x: Tensor) -> Tensor:
    """(B, m, n) to (packs, m, n, LANES), zeros where a lane has no image."""
    room = -len(x) % LANES
    x = torch.cat((x, x.new_zeros(room, *x.shape[1:]))) if room else x
    return x.unflatten(0, (-1, LANES)).permute(0, 2, 3, 1)


def _unpacked(x: Tensor, images: int) -> Tensor:
    return x.permute(0, 3, 1, 2).flatten(0, 1)[:images]


def table(rays: Rays, by_rows: bool, like: Tensor) -> tuple[Tensor, ...]:
    """Start (counted from the frame), step and weight of every ray, and which views have rays of this kind."""
    start, step, weight = entries(rays, by_rows)
    used = (weight > 0).any(1).to(torch.int32)
    return (*((t.to(like.dtype)).contiguous() for t in (start + BEFORE, step, weight)), used)


def detector(rays: Rays, by_rows: bool) -> Tensor:
    """Source distance; rays per unit of s (parallel), of tan g (flat) or g (curved), and number of the ray at 0.

    Then x and y of pixel (0, 0), their steps per line and per pixel of a line.
    """
    top, left, dy, dx, source, to_detector, _, width, middle = rays.scan
    scale = (to_detector if source > 0 else 1.0) / width * rays.per_bin
    steps = (0.0, -dy, dx, 0.0) if by_rows else (dx, 0.0, 0.0, -dy)
    shift = (middle + 0.5) * rays.per_bin - 0.5
    return torch.tensor([source, scale, shift, left, top, *steps], dtype=torch.float64)


def reach(rays: Rays, shape: tuple[int, int]) -> int:
    """Most rays of a view that can pass within a pixel of one pixel, along a line.

    Rays are nearest to each other at the image's corner nearest to the source, and at the edge of a flat detector.
    """
    top, left, dy, dx, source, to_detector, curved, width, middle = rays.scan
    apart = width / rays.per_bin
    if source > 0:
        ends = (top, left), (top - dy * (shape[0] - 1), left + dx * (shape[1] - 1))
        corner = math.hypot(*(max(abs(a), abs(b)) for a, b in zip(*ends, strict=True)))
        edge = width * max(middle + 0.5, rays.bins - 0.5 - middle)
        slant = 1.0 if curved else to_detector / math.hypot(to_detector, edge)
        apart *= slant * (source - corner) / to_detector
    return math.floor(2 * max(dy, dx) / apart + 2 * SLACK) + 1
