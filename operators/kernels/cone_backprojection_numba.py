"""b(x, y, z) = sum over views of q_t(v, u) (R / depth)^2: pixel-driven backprojection of a cone beam on a CPU.

The voxels over a pixel of the plane share their place between two columns of the detector and their depth. These
columns are interpolated once, by `cone_numba.gather`, and each slice then reads its height in the result. Slices and
rows are innermost. A thread owns rows of the image, a few at a time for every view; see `joseph_numba` for threads and
compilation.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from invdiff.operators.kernels.backprojection_numba import places_of
from invdiff.operators.kernels.cone_numba import gather
from invdiff.operators.kernels.joseph_numba import BEFORE, FRAME, JIT, crossed
from invdiff.operators.kernels.rays import Rays
from invdiff.operators.kernels.threads import share

ROWS = 2  # of the image at a time, while all views pass


@njit(**JIT)
def add_columns(q, places, shares, weights, scan, levels, out, column):  # type: ignore[no-untyped-def]
    """out[j, k] += weights[j] x the value of one view at the place of pixel j and the height of slice k.

    q: (bin, row), framed. scan: depth of pixel 0 and its change per pixel, source to detector. levels: see
    `backproject`.
    """
    number = out.dtype.type
    depth, away, to_detector = scan
    bottom, dz, height, middle = levels
    rows, stride, flat = q.shape[1] - FRAME, q.shape[1], q.reshape(-1)
    for j in range(len(out)):
        scale = to_detector / (depth + j * away) / height
        start, step = bottom * scale + middle, dz * scale
        begin, end = crossed(start, step, rows, 0, out.shape[1])
        if begin < end:
            right = weights[j] * shares[j]
            row, slope = number(start + BEFORE), number(step)
            gather(flat, places[j] * stride, stride, weights[j] - right, right, row, slope, begin, end, out[j], column)


@njit(**JIT)
def sweep(q, views, scan, levels, first, last, out):  # type: ignore[no-untyped-def]
    """Rows first <= i < last of one volume (H, W, D). q: (view, bin, row), framed by zeros."""
    top, left, dy, dx, source, to_detector, _, width, middle = scan
    number, end = out.dtype.type, out.dtype.type(q.shape[1] - 2)
    places, shares = np.empty(out.shape[1], np.int32), np.empty(out.shape[1], out.dtype)
    weights, column = np.empty_like(shares), np.zeros(q.shape[2], out.dtype)
    beam = (True, False, number(source), number(to_detector / width), number(middle + BEFORE), end)
    for block in range(first, last, ROWS):
        for v in range(len(views)):
            cos, sin = views[v, 0], views[v, 1]
            for i in range(block, min(block + ROWS, last)):
                y = top - i * dy
                across, depth = left * cos + y * sin, source + y * cos - left * sin
                along = (number(across), number(dx * cos), number(depth), number(-dx * sin))
                places_of(*along, *beam, places, shares, weights)
                add_columns(q[v], places, shares, weights, (depth, -dx * sin, to_detector), levels, out[i], column)


def backproject(q: Tensor, plane: Rays, levels: tuple[float, float, float, float], shape: tuple[int, ...]) -> Tensor:
    """(B, view, row, bin) to (B, *shape), float32 or float64; rays beyond the detector count as 0.

    plane: the rays of the fan. levels: z of slice 0, dz, row height, mm, and the place in rows where v = 0.
    """
    framed = torch.nn.functional.pad(q, (BEFORE, FRAME - BEFORE) * 2).mT.contiguous().numpy()
    height, rows, columns = shape
    x = np.zeros((len(q), rows, columns, height), framed.dtype)
    views, scan = plane.views.numpy(), tuple(plane.scan)

    def some_rows(part: slice) -> None:
        for volume, bins in zip(x, framed, strict=True):
            sweep(bins, views, scan, levels, part.start, part.stop, volume)

    share(some_rows, rows, 1, x.size * len(views))
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
