"""y = sum over image lines of (1 - f) x[j] + f x[j + 1]: Joseph's projector in plain torch, the reference.

One view at a time, so that memory grows with bins x lines only. On CUDA the adjoint adds in any order.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from invdiff.operators.kernels.rays import Rays, entries


def project(x: Tensor, rays: Rays) -> Tensor:
    """A x, (B, H, W) to (B, view, bin)."""
    y = x.new_zeros(rays.sinogram(len(x)))
    for v, pixels, weights in taps(rays, (x.shape[1], x.shape[2])):
        y[:, v] += (x.flatten(1)[:, pixels] * weights.to(x)).sum(-1)
    return y


def adjoint(y: Tensor, rays: Rays, shape: tuple[int, int]) -> Tensor:
    """A^T y, (B, view, bin) to (B, *shape)."""
    x = y.new_zeros(len(y), shape[0] * shape[1])
    for v, pixels, weights in taps(rays, shape):
        x.index_add_(1, pixels.flatten(), (y[:, v, :, None] * weights.to(y)).flatten(1))
    return x.view(len(y), *shape)


def taps(rays: Rays, shape: tuple[int, int]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """View v, the flat pixels (bin, taps) that its bins touch along rows or columns, and weights in mm, float64.

    Every view comes twice, for the rays that go by rows and for the others; pixels outside the image weigh nothing.
    """
    height, width = shape
    for by_rows in (True, False):
        count, length = (height, width) if by_rows else (width, height)
        lines = torch.arange(count, device=rays.lines.device)
        for v, (start, step, weight) in enumerate(zip(*entries(rays, by_rows), strict=True)):
            if not bool(weight.any()):
                continue
            place = (start[:, None] + lines * step[:, None]).clamp(-2, length)
            j = torch.stack((place.floor(), place.floor() + 1), -1)  # (ray, line, 2)
            share = torch.where((j >= 0) & (j < length), 1 - (place[..., None] - j).abs(), 0.0) * weight[:, None, None]
            j = j.clamp(0, length - 1).long()
            pixels = lines[:, None] * width + j if by_rows else j * width + lines[:, None]
            yield v, pixels.reshape(rays.bins, -1), share.reshape(rays.bins, -1)
