"""y = sum over image lines of (1 - f) x[j] + f x[j + 1], j + f = start + line step: Joseph's projector on a CPU.

A ray is followed line by line, along rows where it runs more down than across and along columns elsewhere; columns are
the rows of a transposed copy, so both are one loop. Images have a frame of zeros, hence no border needs a test. The
adjoint scatters: a thread owns the lines that it writes, of the image or of the transposed one, so nothing is atomic
and the result does not depend on the number of threads. Rays come from one place for both directions, `entry` and
`crossed`, in double precision and for all rays of a view in one vectorised loop; nothing is compiled with `fastmath`.
Several images are worked eight at a time, packed innermost, so that they share the weights.

Compiled when first used, once per process and precision. numba's cache on disk (beside the source, which may be
read-only, and blind to changes in imported code) is used only where NUMBA_CACHE_DIR names a folder for it. Threads are
Python's own, for the length of a call, as many as torch uses: numba's settings stay as they are. Copies are numpy's,
since torch's threads spin while they wait for a core that other work has taken.
"""

import math
import os
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from invdiff.operators.kernels.lanes import LANES, add_between, add_pair, add_scaled
from invdiff.operators.kernels.rays import Rays
from invdiff.operators.kernels.threads import share

Array = NDArray[Any]
BEFORE, FRAME = 1, 3  # zeros before a line, and in all: the last is for a position that rounds up beyond the frame
BLOCK_BYTES = 1 << 19  # of image lines followed at a time, which then stay in a core's cache
LINES = 128  # at least in a slice of the adjoint: for each, all rays of one direction are looked at
JIT: dict[str, Any] = {"nogil": True, "error_model": "numpy", "cache": "NUMBA_CACHE_DIR" in os.environ}


@njit(**JIT)
def entry(c, s, p, scan, by_rows):  # type: ignore[no-untyped-def]
    """The ray c x + s y = p by rows, or by columns: place on line 0, in pixels; step per line; mm per line.

    The last is 0, and the others mean nothing, for a ray that goes the other way.
    """
    top, left, dy, dx = scan[0], scan[1], scan[2], scan[3]
    chosen = (abs(s) * dy <= abs(c) * dx) == by_rows
    if by_rows:
        r = 1 / (c if chosen else 1.0)
        return ((p - top * s) * r - left) / dx, dy * s * r / dx, dy * abs(r) if chosen else 0.0
    r = 1 / (s if chosen else 1.0)
    return (top - (p - left * c) * r) / dy, dx * c * r / dy, dx * abs(r) if chosen else 0.0


@njit(**JIT)
def crossed(start, step, length, first, last):  # type: ignore[no-untyped-def]
    """The lines i of first <= i < last with -1 < start + i step < length, as a range."""
    if step == 0:
        return first, last if -1 < start < length and last > first else first
    a, b = (-1 - start) / step, (length - start) / step
    low = math.ceil(min(max(min(a, b), float(first)), float(last)))
    high = math.floor(min(max(max(a, b), first - 1.0), last - 1.0)) + 1
    return low, max(low, high)


@njit(**JIT)
def meet(view, lines, scan, by_rows, length, first, last, starts, steps, weights, lows, highs):  # type: ignore[no-untyped-def]
    """`entry` of all rays of a view, and the lines first <= i < last that each crosses: none of the other direction."""
    for r in range(np.uint32(len(starts))):
        c = view[0] * lines[0, r] + view[1] * lines[1, r]  # of the angle t - g
        s = view[1] * lines[0, r] - view[0] * lines[1, r]
        start, step, weight = entry(c, s, lines[2, r], scan, by_rows)
        low, high = crossed(start, step, length, first, last)
        starts[r], steps[r], weights[r] = start, step, weight
        lows[r], highs[r] = low, high if weight > 0 else low


@njit(**JIT)
def sweep(along, by_rows, image, sizes, views, lines, scan, rays, lanes, first, last, y, places, work, paths, spans):  # type: ignore[no-untyped-def]
    """Follow the rays of one direction over the lines first <= i < last by `along`, one of the four functions below.

    image: framed, flat, transposed for rays by columns. sizes: its lines and their length. lines: (3, bins * rays).
    y: (view, bin, lanes), flat. places, work: room for `along`. paths, spans: room for `meet`, (3, rays), (2, rays).
    """
    count, length = sizes
    bins, last = lines.shape[1] // rays, min(last, count)
    starts, steps, weights, lows, highs = paths[0], paths[1], paths[2], spans[0], spans[1]
    for v in range(len(views)):
        view = (views[v, 0], views[v, 1])
        meet(view, lines, scan, by_rows, length, first, last, starts, steps, weights, lows, highs)
        for r in range(lines.shape[1]):
            if lows[r] < highs[r]:
                at, low, high = (v * bins + r // rays) * lanes, lows[r], highs[r]
                start = starts[r] + BEFORE
                along(image, length + FRAME, start, steps[r], low, high, weights[r] / rays, y, at, places, work)


@njit(**JIT)
def places_of(start, step, low, high, stride, places, shares):  # type: ignore[no-untyped-def]
    """Flat index of the left tap and share of the right one on lines low <= i < high; many lines at once."""
    number = shares.dtype.type
    first, slope, width = number(start), number(step), np.int32(stride)
    for n in range(np.uint32(high - low)):
        i = np.int32(low + n)
        place = first + number(i) * slope
        j = np.int32(place)
        places[n] = i * width + j
        shares[n] = place - number(j)


@njit(**JIT)
def gather(image, stride, start, step, low, high, weight, y, at, places, work):  # type: ignore[no-untyped-def]
    """y[at] += weight x the interpolated values on lines low <= i < high, in sixteen sums that do not wait in turn."""
    places_of(start, step, low, high, stride, places, work)
    sums = len(work) - 2 * LANES
    work[sums:] = 0
    half, whole, total = sums, (high - low) // 4 * 4, image.dtype.type(0)
    for n in range(0, whole, 4):
        add_between(work, half, image, places, work, n)
        half = 2 * sums + LANES - half
    for n in range(whole, high - low):
        k = np.uint32(places[n])
        total += image[k] + work[n] * (image[k + np.uint32(1)] - image[k])
    add_scaled(work, sums, work, sums + LANES, image.dtype.type(1))
    for n in range(sums, sums + LANES):
        total += work[n]
    y[at] += image.dtype.type(weight) * total


@njit(**JIT)
def scatter(image, stride, start, step, low, high, weight, y, at, places, work):  # type: ignore[no-untyped-def]
    """The transpose of `gather`."""
    places_of(start, step, low, high, stride, places, work)
    value = image.dtype.type(weight) * y[at]
    for n in range(high - low):
        part = work[n] * value
        add_pair(image, places[n], value - part, part)


@njit(**JIT)
def gather_lanes(image, stride, start, step, low, high, weight, y, at, places, work):  # type: ignore[no-untyped-def]
    """`gather` for packed images, in two sums of two taps each so that additions need not wait for each other."""
    number = image.dtype.type
    start, step, half = number(start), number(step), 0
    work[: 4 * LANES] = 0
    for i in range(low, high):
        place = start + number(i) * step
        j = np.int32(place)
        f = place - number(j)
        k = (i * stride + j) * LANES
        add_scaled(work, half, image, k, number(1) - f)
        add_scaled(work, half + LANES, image, k + LANES, f)
        half ^= 2 * LANES
    for part in range(4):
        add_scaled(y, at, work, part * LANES, number(weight))


@njit(**JIT)
def scatter_lanes(image, stride, start, step, low, high, weight, y, at, places, work):  # type: ignore[no-untyped-def]
    """The transpose of `gather_lanes`."""
    number = image.dtype.type
    start, step = number(start), number(step)
    work[:LANES] = 0
    add_scaled(work, 0, y, at, number(weight))
    for i in range(low, high):
        place = start + number(i) * step
        j = np.int32(place)
        f = place - number(j)
        k = (i * stride + j) * LANES
        add_scaled(image, k, work, 0, number(1) - f)
        add_scaled(image, k + LANES, work, 0, f)


def project(x: Tensor, rays: Rays) -> Tensor:
    """A x, (B, H, W) to (B, view, bin), on a CPU; float32 or float64."""
    images = x.numpy()
    packs = [_project(images[i : i + LANES], rays) for i in range(0, len(images), LANES)]
    return torch.from_numpy(np.concatenate(packs))


def adjoint(y: Tensor, rays: Rays, shape: tuple[int, int]) -> Tensor:
    """A^T y, (B, view, bin) to (B, *shape)."""
    sinograms = y.numpy()
    packs = [_adjoint(sinograms[i : i + LANES], rays, shape) for i in range(0, len(sinograms), LANES)]
    return torch.from_numpy(np.concatenate(packs))


def _project(x: Array, rays: Rays) -> Array:
    shape, lanes = (x.shape[1], x.shape[2]), _lanes(x)
    images = [_framed(turned, lanes).ravel() for turned in (x, x.swapaxes(1, 2))]
    y = np.zeros((len(rays.views), rays.bins, lanes), x.dtype)
    along = gather_lanes if lanes > 1 else gather

    def some_views(part: slice) -> None:
        of_part = rays._replace(views=rays.views[part])
        _follow(along, images, shape, of_part, lanes, slice(0, sum(shape)), y[part].ravel())

    share(some_views, len(rays.views), 1, _steps(rays, shape))
    return np.moveaxis(y[..., : len(x)], -1, 0)


def _adjoint(y: Array, rays: Rays, shape: tuple[int, int]) -> Array:
    lanes = _lanes(y)
    packed = np.zeros((*y.shape[1:], lanes), y.dtype)
    packed[..., : len(y)] = np.moveaxis(y, 0, -1)
    framed = [np.zeros((h, w + FRAME, lanes), y.dtype) for h, w in (shape, shape[::-1])]
    values, images = packed.ravel(), [f.ravel() for f in framed]
    along = scatter_lanes if lanes > 1 else scatter

    def some_lines(part: slice) -> None:
        _follow(along, images, shape, rays, lanes, part, values)

    share(some_lines, sum(shape), LINES, _steps(rays, shape))
    rows, columns = (np.moveaxis(f[:, BEFORE : BEFORE - FRAME, : len(y)], -1, 0) for f in framed)
    return rows + columns.swapaxes(1, 2)


def _follow(
    along: Any, images: list[Array], shape: tuple[int, int], rays: Rays, lanes: int, part: slice, y: Array
) -> None:
    """`sweep` over part of the lines: those of the image and, behind them, those of the transposed one."""
    block = _block(shape, lanes * y.itemsize)
    places, work = np.empty(block, np.int32), np.empty(block + 4 * LANES, y.dtype)
    views, lines, scan = rays.views.numpy(), np.ascontiguousarray(rays.lines.numpy().T), tuple(rays.scan[:4])
    paths, spans = np.empty((3, lines.shape[1])), np.empty((2, lines.shape[1]), np.int64)
    for by_rows, image, sizes, before in zip((True, False), images, (shape, shape[::-1]), (0, shape[0]), strict=True):
        stop = min(part.stop - before, sizes[0])
        for first in range(max(part.start - before, 0), stop, block):
            last = min(first + block, stop)
            ways = (views, lines, scan, rays.per_bin, lanes, first, last)
            sweep(along, by_rows, image, sizes, *ways, y, places, work, paths, spans)


def _lanes(x: Array) -> int:
    return 1 if len(x) == 1 else LANES


def _framed(x: Array, lanes: int) -> Array:
    """(n, H, W) to (H, W + FRAME, lanes), zeros around and in lanes without an image."""
    out = np.zeros((x.shape[1], x.shape[2] + FRAME, lanes), x.dtype)
    out[:, BEFORE : BEFORE - FRAME, : len(x)] = np.moveaxis(x, 0, -1)
    return out


def _block(shape: tuple[int, int], pixel_bytes: int) -> int:
    """Number of lines followed at a time."""
    return max(16, BLOCK_BYTES // (pixel_bytes * max(shape)))


def _steps(rays: Rays, shape: tuple[int, int]) -> int:
    return len(rays.views) * len(rays.lines) * max(shape)
