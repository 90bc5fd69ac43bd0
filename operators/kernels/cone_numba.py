"""s = sum over volume lines of (1 - f) c_j[k] + f c_(j + 1)[k], k between slices: Joseph's projector in 3-D on a CPU.

Rays of one bin and different rows run over each other: on a line they share the two columns of voxels between which
they pass. These are interpolated once, and then each ray reads its place in the result. Columns are contiguous, so rows
and columns of a slice are lines at other strides of the same memory. Volumes have a frame of zeros. The adjoint
scatters, the transpose step by step: a thread owns the lines that it writes, so nothing is atomic and the result does
not depend on the number of threads. Rays come from the same functions in both directions.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from invdiff.operators.kernels.cone_rays import ConeRays
from invdiff.operators.kernels.joseph_numba import BEFORE, FRAME, JIT, Array, crossed, entry
from invdiff.operators.kernels.threads import share

LINES = 8  # of a thread at least in the adjoint, where every thread meets every ray


@njit(**JIT)
def depth_of(by_rows, start, step, c, s, scan):  # type: ignore[no-untyped-def]
    """`cone_rays.depths` of one ray."""
    top, left, dy, dx, distance = scan
    if by_rows:
        return distance + top * c - (left + dx * start) * s, -dy * c - dx * step * s
    return distance + (top - dy * start) * c - left * s, -dy * step * c - dx * s


@njit(**JIT)
def sweep(along, by_rows, volume, strides, sizes, views, lines, scan, slices, slopes, first, last, sums, column):  # type: ignore[no-untyped-def]
    """Follow the rays of one direction over the lines first <= i < last of a framed volume, by `gather` or `scatter`.

    strides: of lines and across. sizes: across and along z. slices: z of slice 0, dz. sums: (view, ray, height).
    """
    number = volume.dtype.type
    rise = slopes[1] - slopes[0] if len(slopes) > 1 else 0.0
    for v in range(len(views)):
        for r in range(len(lines)):
            cos_t, sin_t = views[v, 0], views[v, 1]
            c, s = cos_t * lines[r, 0] + sin_t * lines[r, 1], sin_t * lines[r, 0] - cos_t * lines[r, 1]
            start, step, weight = entry(c, s, lines[r, 2], scan, by_rows)
            if weight == 0:
                continue
            depth, change = depth_of(by_rows, start, step, cos_t, sin_t, scan)
            low, high = crossed(start, step, sizes[0], first, last)
            for i in range(low, high):
                place = number(start + i * step + BEFORE)
                j = np.int32(place)
                scale = (depth + i * change) / slices[1]
                z, slope = slopes[0] * scale - slices[0] / slices[1], rise * scale
                begin, end = crossed(z, slope, sizes[1], 0, len(slopes))
                if begin < end:
                    base = (i + BEFORE) * strides[0] + j * strides[1]
                    z, slope = number(z + BEFORE), number(slope)
                    f = place - number(j)
                    along(volume, base, strides[1], number(1) - f, f, z, slope, begin, end, sums[v, r], column)


@njit(**JIT)
def extent(z, slope, begin, end, height):  # type: ignore[no-untyped-def]
    """Slices, as a range, between which the heights begin <= h < end lie."""
    number = type(z)
    a, b = z + number(begin) * slope, z + number(end - 1) * slope
    return np.int32(min(a, b)), min(np.int32(max(a, b)) + 2, height)


@njit(**JIT)
def gather(volume, base, across, near, far, z, slope, begin, end, sums, column):  # type: ignore[no-untyped-def]
    """sums[h] += the value between columns `base` and `base + across`, at z + h slope, for begin <= h < end.

    near, far: what the two columns weigh.
    """
    number = volume.dtype.type
    low, high = extent(z, slope, begin, end, len(column))
    one, other = volume[base + low : base + high], volume[base + across + low : base + across + high]
    for k in range(np.uint32(high - low)):  # unsigned: numba tests every other index for being negative
        column[np.uint32(low) + k] = near * one[k] + far * other[k]
    for h in range(np.uint32(begin), np.uint32(end)):
        place = z + number(np.int32(h)) * slope
        j = np.int32(place)
        k = np.uint32(j)
        sums[h] += column[k] + (place - number(j)) * (column[k + np.uint32(1)] - column[k])


@njit(**JIT)
def scatter(volume, base, across, near, far, z, slope, begin, end, sums, column):  # type: ignore[no-untyped-def]
    """The transpose of `gather`."""
    number = volume.dtype.type
    low, high = extent(z, slope, begin, end, len(column))
    column[low:high] = 0
    for h in range(np.uint32(begin), np.uint32(end)):
        place = z + number(np.int32(h)) * slope
        j = np.int32(place)
        k, part = np.uint32(j), (place - number(j)) * sums[h]
        column[k] += sums[h] - part
        column[k + np.uint32(1)] += part
    one, other = volume[base + low : base + high], volume[base + across + low : base + across + high]
    for k in range(np.uint32(high - low)):
        part = column[np.uint32(low) + k]
        one[k] += near * part
        other[k] += far * part


def project(x: Tensor, rays: ConeRays) -> Tensor:
    """Sums (B, view, ray, height) of volumes (B, D, H, W), on a CPU; float32 or float64."""
    return torch.from_numpy(np.stack([_project(volume, rays) for volume in x.numpy()]))


def adjoint(sums: Tensor, rays: ConeRays, shape: tuple[int, int, int]) -> Tensor:
    """The transpose, to volumes (B, *shape)."""
    return torch.from_numpy(np.stack([_adjoint(part, rays, shape) for part in sums.numpy()]))


def _project(x: Array, rays: ConeRays) -> Array:
    volume = np.zeros([n + FRAME for n in (*x.shape[1:], x.shape[0])], x.dtype)
    _inner(volume)[:] = x.transpose(1, 2, 0)
    sums = np.zeros((len(rays.plane.views), len(rays.plane.lines), len(rays.slopes)), x.dtype)

    def some_views(part: slice) -> None:
        for by_rows in (True, False):
            _follow(gather, by_rows, volume, rays, part, slice(0, x.shape[1 if by_rows else 2]), sums[part])

    share(some_views, len(sums), 1, sums.size * max(x.shape))
    return sums


def _adjoint(sums: Array, rays: ConeRays, shape: tuple[int, int, int]) -> Array:
    volume = np.zeros([n + FRAME for n in (*shape[1:], shape[0])], sums.dtype)
    for by_rows in (True, False):

        def some_lines(part: slice, by_rows: bool = by_rows) -> None:
            _follow(scatter, by_rows, volume, rays, slice(None), part, sums)

        share(some_lines, shape[1 if by_rows else 2], LINES, sums.size * max(shape))
    return np.ascontiguousarray(_inner(volume).transpose(2, 0, 1))


def _follow(along: Any, by_rows: bool, volume: Array, rays: ConeRays, views: slice, part: slice, sums: Array) -> None:
    """`sweep` over some of the lines."""
    rows, columns, height = (n - FRAME for n in volume.shape)
    steps = [stride // volume.itemsize for stride in volume.strides[:2]]
    strides, across = (tuple(steps), columns) if by_rows else (tuple(steps[::-1]), rows)
    table, scan, slices = rays.plane, tuple(rays.plane.scan[:5]), (rays.bottom, rays.dz)
    angles, lines, slopes = table.views[views].numpy(), table.lines.numpy(), rays.slopes.numpy()
    column = np.zeros(volume.shape[2], volume.dtype)
    flat, sizes = volume.reshape(-1), (across, height)
    sweep(
        along, by_rows, flat, strides, sizes, angles, lines, scan, slices, slopes, part.start, part.stop, sums, column
    )


def _inner(volume: Array) -> Array:
    """Without the frame."""
    inner = slice(BEFORE, BEFORE - FRAME)
    return volume[inner, inner, inner]
