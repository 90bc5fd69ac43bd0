"""c = U x,   U^H U = 1: the wavelet transform at every position of its grid (stationary, "a trous").

Level j filters the low-low band of level j - 1 along both axes, without leaving out every other value,

    low[m] = sum_k h[k] x[m + 2^(j-1) k] / sqrt(2),   high[m] = sum_k g[k] x[m + 2^(j-1) k] / sqrt(2).

A band of level j holds the coefficients of all 2^j x 2^j shifted copies of the orthogonal transform, divided by 2^j.
"""

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.wavelet import daubechies, default_levels, mirror
from invdiff.shapes import Shape


class UndecimatedWavelet(LinearOperator):
    """Coefficients (B, C, 3 levels + 1, H, W) of (B, C, H, W), real or complex, periodic.

    From the finest level to the coarsest the bands are (low, high), (high, low), (high, high) along (rows, columns);
    the low-low band comes last.

    Args:
        shape: (C, H, W), any size; where H and W are multiples of 2^levels, all shifts are covered evenly.
        moments: vanishing moments of the Daubechies wavelet, 1 (Haar) to 10.
        levels: number of levels; None for `default_levels(shape)`.
        is_complex: what x is; None takes both.

    Raises:
        ValueError: shape is not (C, H, W), or moments or levels are out of range.

    Source: Mallat, A Wavelet Tour of Signal Processing, 2009, section 5.2.2; Coifman and Donoho, Translation-Invariant
        De-Noising, 1995.
    """

    def __init__(
        self, shape: Shape, moments: int = 1, levels: int | None = None, is_complex: bool | None = None
    ) -> None:
        if len(shape) != 3:
            raise ValueError(f"UndecimatedWavelet takes an image shape (C, H, W), got {tuple(shape)}.")
        levels = default_levels(shape) if levels is None else levels
        if levels < 1:
            raise ValueError(f"UndecimatedWavelet: levels must be at least 1, got {levels}.")
        super().__init__(shape, (shape[0], 3 * levels + 1, *shape[1:]), is_complex, is_complex)
        self.levels = levels
        self.low = [v / 2**0.5 for v in daubechies(moments)]
        self.high = [v / 2**0.5 for v in mirror(daubechies(moments))]

    def forward(self, x: Tensor) -> Tensor:
        bands = []
        for level in range(self.levels):
            low, high = self._split(x, 2**level, -2)
            x, right = self._split(low, 2**level, -1)
            bands += [right, *self._split(high, 2**level, -1)]
        return torch.stack((*bands, x), dim=-3)

    def _adjoint(self, y: Tensor) -> Tensor:
        *bands, x = y.unbind(-3)
        for level in reversed(range(self.levels)):
            right, *high = bands[3 * level : 3 * level + 3]
            low = self._merge(x, right, 2**level, -1)
            x = self._merge(low, self._merge(high[0], high[1], 2**level, -1), 2**level, -2)
        return x

    def normal(self, x: Tensor) -> Tensor:
        """U^H U x = x."""
        return x

    def norm(self) -> float:
        return 1.0

    def _split(self, x: Tensor, gap: int, dim: int) -> tuple[Tensor, Tensor]:
        low, high = self.low[0] * x, self.high[0] * x
        for k in range(1, len(self.low)):
            moved = x.roll(-k * gap, dim)
            low, high = low + self.low[k] * moved, high + self.high[k] * moved
        return low, high

    def _merge(self, low: Tensor, high: Tensor, gap: int, dim: int) -> Tensor:
        """The transpose of `_split`, which undoes it."""
        x = self.low[0] * low + self.high[0] * high
        for k in range(1, len(self.low)):
            x = x + (self.low[k] * low + self.high[k] * high).roll(k * gap, dim)
        return x
