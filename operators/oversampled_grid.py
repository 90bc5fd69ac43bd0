"""M >= ratio N points per axis, even, over an image of N pixels: the grid on which samples are spread by a window.

The image lies centred, pixel n // 2 on grid point M // 2. Its plain transform is then the centred one times (-1)^m, and
that sign goes into the window's weights: no shifts, and real weights.
"""

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from invdiff.operators.kaiser_bessel import KaiserBessel
from invdiff.shapes import Shape


class OversampledGrid:
    """The grid for an image of `shape` (H, W) or (D, H, W), with a Kaiser-Bessel window of `taps` points.

    shape: of the image. sizes: of the grid. windows: one per axis.
    """

    def __init__(self, shape: Shape, ratio: float, taps: int) -> None:
        self.shape = shape
        self.sizes = tuple(even_fast_size(max(ratio * n, taps + 1)) for n in shape)
        self.windows = [KaiserBessel(taps, m / n) for m, n in zip(self.sizes, shape, strict=True)]

    def inner(self) -> tuple[slice, ...]:
        """Where the image lies."""
        starts = [m // 2 - n // 2 for m, n in zip(self.sizes, self.shape, strict=True)]
        return tuple(slice(s, s + n) for s, n in zip(starts, self.shape, strict=True))

    def gains(self) -> list[Tensor]:
        """1 / Khat at the pixels of each axis, (N,) float64: what undoes the window in the image."""
        pixels = [torch.arange(n, dtype=torch.float64) - n // 2 for n in self.shape]
        return [1 / w.transform(x / m) for w, x, m in zip(self.windows, pixels, self.sizes, strict=True)]

    def stencil(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """Grid points under the window of each sample, as flat indices (..., J^d), and their weights, float64.

        Args:
            k: (..., d), cycles per field of view.
        """
        index, weights = self._taps(k[..., 0], 0)
        for axis in range(1, len(self.sizes)):
            points, values = self._taps(k[..., axis], axis)
            index = (index[..., :, None] * self.sizes[axis] + points[..., None, :]).flatten(-2)
            weights = (weights[..., :, None] * values[..., None, :]).flatten(-2)
        return index, weights

    def _taps(self, k: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Points (..., J) of one axis, modulo its size, and K with the sign (-1)^m."""
        m, window = self.sizes[axis], self.windows[axis]
        u = k * (m / self.shape[axis])
        i = (u - window.taps / 2).ceil()[..., None] + torch.arange(window.taps)
        return i.long() % m, window(u[..., None] - i) * (1 - 2 * (i % 2))


def even_fast_size(at_least: float) -> int:
    """The smallest even number of that many points whose transform is fast."""
    return 2 * int(next_fast_len(math.ceil(at_least / 2)))
