"""c = W x,   W^H W = 1: the orthogonal wavelet transform of Daubechies, periodic, separable, of several levels.

One level along one axis splits x into a low and a high band of half the length,

    low[m] = sum_k h[k] x[2m + k],   high[m] = sum_k g[k] x[2m + k],   g[k] = (-1)^k h[2n-1-k],

along both axes, and the next level splits the low-low band again.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from invdiff.operators.base import LinearOperator
from invdiff.shapes import Shape


class Wavelet(LinearOperator):
    """Wavelet coefficients of (B, C, H, W), real or complex, in the nested layout (B, C, H', W').

    H' and W' are H and W rounded up to multiples of 2^levels, and the low-low band of the last level is the corner
    [:H'/2^levels, :W'/2^levels]. Where nothing is rounded W is orthogonal; elsewhere the image is continued by zeros,
    W still keeps inner products (W^H W = 1), and W W^H projects onto the coefficients that images can have.

    Args:
        shape: (C, H, W).
        moments: vanishing moments n, 1 (Haar) to 10; the filters have 2n taps.
        levels: number of levels; None for `default_levels(shape)`.
        is_complex: what x is; None takes both.

    Raises:
        ValueError: shape is not (C, H, W), or moments or levels are out of range.

    Source: Mallat, A Wavelet Tour of Signal Processing, 2009, sections 7.3 and 7.7.
    """

    def __init__(
        self, shape: Shape, moments: int = 4, levels: int | None = None, is_complex: bool | None = None
    ) -> None:
        if len(shape) != 3:
            raise ValueError(f"Wavelet takes an image shape (C, H, W), got {tuple(shape)}.")
        levels = default_levels(shape) if levels is None else levels
        if levels < 1:
            raise ValueError(f"Wavelet: levels must be at least 1, got {levels}.")
        super().__init__(shape, rounded_up(shape, levels), is_complex, is_complex)
        self.levels = levels
        self.filters = daubechies(moments)
        height, width = self.shape_out[-2:]
        self.sizes = [(height >> level, width >> level) for level in range(levels)]

    def forward(self, x: Tensor) -> Tensor:
        (height, width), (rows, columns) = x.shape[-2:], self.shape_out[-2:]
        x = pad(x, (0, columns - width, 0, rows - height))
        out = x.clone()
        for rows, columns in self.sizes:
            x = _split(_split(x, self.filters, -1), self.filters, -2)
            out[..., :rows, :columns] = x
            x = x[..., : rows // 2, : columns // 2]
        return out

    def _adjoint(self, y: Tensor) -> Tensor:
        out = y.clone()
        for rows, columns in reversed(self.sizes):
            x = _merge(_merge(out[..., :rows, :columns], self.filters, -2), self.filters, -1)
            out[..., :rows, :columns] = x
        return out[..., : self.shape_in[-2], : self.shape_in[-1]]

    def normal(self, x: Tensor) -> Tensor:
        """W^H W x = x."""
        return x

    def norm(self) -> float:
        return 1.0


def default_levels(shape: Shape) -> int:
    """Levels until the low-low band is at most 8 wide along the shorter axis; at least 1, at most 4."""
    return min(4, max(1, math.ceil(math.log2(min(shape[-2:]) / 8))))


def rounded_up(shape: Shape, levels: int) -> Shape:
    """(C, H, W) with H and W rounded up to multiples of 2^levels."""
    unit = 2**levels
    return (*shape[:-2], *(-(-n // unit) * unit for n in shape[-2:]))


def daubechies(moments: int) -> tuple[float, ...]:
    """Low-pass filter h[0..2n-1] with n vanishing moments and extremal phase, sum sqrt(2), in double precision.

    Spectral factorisation: |h(w)|^2 = 2 cos(w/2)^(2n) P(sin(w/2)^2), P(y) = sum_{k<n} binom(n-1+k, k) y^k; of each
    pair of zeros z, 1/z with y = (2 - z - 1/z) / 4 the one inside the unit circle is taken.

    Source: Daubechies, Ten Lectures on Wavelets, 1992, section 6.1.
    """
    if not 1 <= moments <= 10:
        raise ValueError(f"moments must be between 1 and 10, got {moments}.")
    h = np.ones(1)
    for _ in range(moments):
        h = np.convolve(h, [1, 1])
    for y in np.roots([math.comb(moments - 1 + k, k) for k in reversed(range(moments))]):
        zeros = np.roots([1, 4 * y - 2, 1])
        h = np.convolve(h, [1, -zeros[np.abs(zeros).argmin()]])
    h = h.real
    return tuple((math.sqrt(2) * h / h.sum()).tolist())


def mirror(h: tuple[float, ...]) -> tuple[float, ...]:
    """The high-pass filter that completes h to an orthogonal pair."""
    return tuple((-1) ** k * v for k, v in enumerate(reversed(h)))


def _split(x: Tensor, h: tuple[float, ...], dim: int) -> Tensor:
    """One level along `dim`, which is even: the low band, then the high band."""
    g = mirror(h)
    even, odd = x.unflatten(dim, (-1, 2)).unbind(dim)
    low = high = torch.zeros_like(even)
    for k in range(0, len(h), 2):
        a, b = even.roll(-(k // 2), dim), odd.roll(-(k // 2), dim)
        low, high = low + h[k] * a + h[k + 1] * b, high + g[k] * a + g[k + 1] * b
    return torch.cat((low, high), dim)


def _merge(y: Tensor, h: tuple[float, ...], dim: int) -> Tensor:
    """The transpose of `_split`, which is its inverse."""
    g = mirror(h)
    low, high = y.chunk(2, dim)
    even = odd = torch.zeros_like(low)
    for k in range(0, len(h), 2):
        even = even + (h[k] * low + g[k] * high).roll(k // 2, dim)
        odd = odd + (h[k + 1] * low + g[k + 1] * high).roll(k // 2, dim)
    return torch.stack((even, odd), dim).flatten(dim - 1, dim)
