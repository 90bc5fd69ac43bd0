"""y_b = sum over pixels of x (F(d_b+1) - F(d_b)) / (d_b+1 - d_b): means over the strip between a bin's edges, on a CPU.

d_b is the distance of the bin's edge from the pixel's centre and F the area of the pixel on one side of a line at that
distance: a trapezoid's integral. Exact for a parallel beam; within one pixel the rays of a fan are taken as parallel to
the one through its centre. Many times the work of Joseph's model; it serves as a reference for that.

Both directions visit pixels and share `footprint`; a thread owns views, or rows of the image. See `joseph_numba` for
threads and compilation.
"""

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from invdiff.operators.kernels.joseph_numba import JIT, Array
from invdiff.operators.kernels.rays import Rays
from invdiff.operators.kernels.threads import share


@njit(**JIT)
def area(d, outer, inner, height):  # type: ignore[no-untyped-def]
    """Integral up to d of a trapezoid about 0: `height` within +-inner, falling to 0 at +-outer."""
    if d <= -outer:
        return 0.0
    if d >= outer:
        return height * (outer + inner)
    if d < -inner:
        return height * (d + outer) ** 2 / (2 * (outer - inner))
    if d > inner:
        return height * (outer + inner - (outer - d) ** 2 / (2 * (outer - inner)))
    return height * ((outer - inner) / 2 + d + inner)


@njit(**JIT)
def footprint(x, y, cos, sin, scan):  # type: ignore[no-untyped-def]
    """Half widths of a pixel's trapezoid, its height in mm, and the place of its centre in bins."""
    dy, dx, source, to_detector, curved, width, middle = scan[2:]
    c, s, u = cos, sin, x * cos + y * sin
    if source > 0:
        depth = source + y * cos - x * sin
        far = math.hypot(u, depth)
        c, s = (y + source * cos) / far, (source * sin - x) / far
        u = to_detector * (math.atan2(u, depth) if curved else u / depth)
    a, b = abs(c) * dx / 2, abs(s) * dy / 2
    return a + b, abs(a - b), dx * dy / (2 * max(a, b)), u / width + middle


@njit(**JIT)
def sweep(x, views, edges, scan, rows, y, forward):  # type: ignore[no-untyped-def]
    """y (n, view, bin) += A x, or x (n, H, W) += A^T y, for the given views and rows of the image."""
    bins = len(edges) - 1
    for v in range(len(views)):
        cos, sin = views[v]
        for i in range(rows[0], rows[1]):
            for j in range(x.shape[2]):
                at_x, at_y = scan[1] + j * scan[3], scan[0] - i * scan[2]
                across, along = at_x * cos + at_y * sin, at_x * sin - at_y * cos
                outer, inner, height, place = footprint(at_x, at_y, cos, sin, scan)
                b = min(max(int(place + 0.5), 0), bins - 1)
                while b > 0 and edges[b, 2] - edges[b, 0] * across - edges[b, 1] * along > -outer:
                    b -= 1
                near = edges[b, 2] - edges[b, 0] * across - edges[b, 1] * along
                while b < bins and near < outer:
                    far = edges[b + 1, 2] - edges[b + 1, 0] * across - edges[b + 1, 1] * along
                    part = area(far, outer, inner, height) - area(near, outer, inner, height)
                    weight = x.dtype.type(part / (far - near))
                    for n in range(len(x)):
                        if forward:
                            y[n, v, b] += weight * x[n, i, j]
                        else:
                            x[n, i, j] += weight * y[n, v, b]
                    b, near = b + 1, far


def project(x: Tensor, rays: Rays) -> Tensor:
    """A x, (B, H, W) to (B, view, bin), on a CPU; float32 or float64."""
    y = np.zeros(rays.sinogram(len(x)), x.numpy().dtype)

    def some_views(part: slice) -> None:
        out = np.zeros((len(y), part.stop - part.start, rays.bins), y.dtype)
        _follow(x.numpy(), rays, part, (0, x.shape[1]), out, True)
        y[:, part] = out

    share(some_views, len(rays.views), 1, x.numel() * len(rays.views))
    return torch.from_numpy(y)


def adjoint(y: Tensor, rays: Rays, shape: tuple[int, int]) -> Tensor:
    """A^T y, (B, view, bin) to (B, *shape)."""
    x = np.zeros((len(y), *shape), y.numpy().dtype)

    def some_rows(part: slice) -> None:
        _follow(x, rays, slice(None), (part.start, part.stop), y.numpy(), False)

    share(some_rows, shape[0], 1, x.size * len(rays.views))
    return torch.from_numpy(x)


def _follow(x: Array, rays: Rays, views: slice, rows: tuple[int, int], y: Array, forward: bool) -> None:
    sweep(x, rays.views[views].numpy(), rays.lines.numpy(), tuple(rays.scan), rows, y, forward)
