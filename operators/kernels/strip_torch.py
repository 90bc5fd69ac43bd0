"""y_b = sum over pixels of x (F(d_b+1) - F(d_b)) / (d_b+1 - d_b): the strip model in plain torch, the reference.

d_b is the distance of the bin's edge from the pixel's centre, F a trapezoid's integral; see `strip_numba`. One view at
a time and every bin with every pixel, for small geometries only.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from invdiff.operators.kernels.rays import Rays


def project(x: Tensor, rays: Rays) -> Tensor:
    """A x, (B, H, W) to (B, view, bin)."""
    rows = [x.flatten(1) @ weights.to(x).T for weights in matrices(rays, (x.shape[1], x.shape[2]))]
    return torch.stack(rows, 1)


def adjoint(y: Tensor, rays: Rays, shape: tuple[int, int]) -> Tensor:
    """A^T y, (B, view, bin) to (B, *shape)."""
    x = y.new_zeros(len(y), shape[0] * shape[1])
    for v, weights in enumerate(matrices(rays, shape)):
        x += y[:, v] @ weights.to(y)
    return x.view(len(y), *shape)


def matrices(rays: Rays, shape: tuple[int, int]) -> Iterator[Tensor]:
    """The rows of A that belong to one view, (bin, pixels) float64, view by view."""
    top, left, dy, dx, source = rays.scan[:5]
    device = rays.lines.device
    rows, columns = (torch.arange(n, dtype=torch.float64, device=device) for n in shape)
    y, x = (t.flatten() for t in torch.meshgrid(top - dy * rows, left + dx * columns, indexing="ij"))
    cos_g, sin_g, s = rays.lines[:, :, None].unbind(1)
    for cos, sin in rays.views:
        across, along = x * cos + y * sin, x * sin - y * cos
        far = torch.hypot(across, source - along) if source > 0 else torch.ones_like(x)
        c = (y + source * cos) / far if source > 0 else cos
        n = (source * sin - x) / far if source > 0 else sin
        d = s - cos_g * across - sin_g * along  # (edge, pixel)
        yield areas(d, abs(c) * dx / 2, abs(n) * dy / 2, dx * dy).diff(dim=0) / d.diff(dim=0)


def areas(d: Tensor, a: Tensor, b: Tensor, total: float) -> Tensor:
    """Area of a pixel on one side of lines at the distances d, for half widths a and b of its two sides."""
    outer, inner = a + b, (a - b).abs()
    height, slope = total / (outer + inner), (outer - inner).clamp(min=1e-12)
    rising = (d.clamp(-outer, -inner) + outer) ** 2 / (2 * slope)
    falling = (outer - inner) / 2 - (outer - d.clamp(inner, outer)) ** 2 / (2 * slope)
    return height * (rising + (d.clamp(-inner, inner) + inner) + falling)
