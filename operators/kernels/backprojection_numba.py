"""b(x, y) = sum over views of q_t(u(x, y)) / L^2: pixel-driven backprojection on a CPU, see `backprojection`.

A thread owns rows of the image. Places along a row are worked out and interpolated many pixels at a time, a few rows
for every view, so that a row of the image and a view's bins stay in a core's first cache. See `joseph_numba` for
threads and compilation.
"""

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from invdiff.operators.kernels.joseph_numba import JIT
from invdiff.operators.kernels.rays import Rays
from invdiff.operators.kernels.threads import share

ROWS = 8  # of the image at a time, while all views pass


@njit(**JIT)
def places_of(across, right, depth, away, fan, curved, source, scale, shift, end, places, shares, weights):  # type: ignore[no-untyped-def]
    """Index of the left bin, share of the right one and 1 / L^2 for the pixels of a row.

    across, depth: of pixel 0 on the axes of the view, mm, and `right`, `away` their change per pixel. scale, shift:
    place = scale u / D + shift, counted from the first of the zeros, of which there are one before and two behind.
    """
    number = shares.dtype.type
    for j in range(np.uint32(len(shares))):
        u, weight = across + number(j) * right, number(1)
        if fan:
            part = number(1) / (depth + number(j) * away)
            u, weight = u * part, (source * part) * (source * part)
            if curved:
                weight /= number(1) + u * u
                u = math.atan(u)
        place = min(max(u * scale + shift, number(0)), end)
        k = np.int32(place)
        places[j], shares[j], weights[j] = k, place - number(k), weight


@njit(**JIT)
def add_bins(bins, places, shares, weights, out):  # type: ignore[no-untyped-def]
    """out[j] += the value at the place of pixel j, over L^2."""
    for j in range(np.uint32(len(out))):
        k = np.uint32(places[j])
        left = bins[k]
        out[j] += weights[j] * (left + shares[j] * (bins[k + np.uint32(1)] - left))


@njit(**JIT)
def sweep(q, views, scan, first, last, out):  # type: ignore[no-untyped-def]
    """Rows first <= i < last of one image (H, W). q: (view, bin), with zeros at the ends."""
    top, left, dy, dx, source, to_detector, curved, width, middle = scan
    number, fan, end = out.dtype.type, source > 0, out.dtype.type(q.shape[1] - 2)
    places, shares = np.empty(out.shape[1], np.int32), np.empty(out.shape[1], out.dtype)
    weights = np.ones_like(shares)
    scale, shift = number((to_detector if fan else 1.0) / width), number(middle + 1)
    for block in range(first, last, ROWS):
        for v in range(len(views)):
            cos, sin = views[v, 0], views[v, 1]
            for i in range(block, min(block + ROWS, last)):
                y = top - i * dy
                across, depth = number(left * cos + y * sin), number(source + y * cos - left * sin)
                right, away, far = number(dx * cos), number(-dx * sin), number(source)
                ways = (fan, curved > 0, far, scale, shift, end)
                places_of(across, right, depth, away, *ways, places, shares, weights)
                add_bins(q[v], places, shares, weights, out[i])


def backproject(q: Tensor, rays: Rays, shape: tuple[int, int]) -> Tensor:
    """(B, view, bin) to (B, *shape), float32 or float64; rays beyond the detector count as 0."""
    padded = torch.nn.functional.pad(q, (1, 2)).contiguous().numpy()
    x = np.zeros((len(q), *shape), padded.dtype)
    views, scan = rays.views.numpy(), tuple(rays.scan)

    def some_rows(part: slice) -> None:
        for image, bins in zip(x, padded, strict=True):
            sweep(bins, views, scan, part.start, part.stop, image)

    share(some_rows, shape[0], 1, x.size * len(views))
    return torch.from_numpy(x)
