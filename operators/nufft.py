"""y_j = 1/sqrt(N) sum_n x_n exp(-2 pi i k_j (n - c) / N),   c = N // 2: the transform at any positions k_j, in 2-D.

    y = C F S x    S: divide by the window's transform and pad to the grid,   F: plain transform,   C: window weights

C is one real sparse matrix: the image sits centred on an even grid of M points, whose transform is the centred one
times (-1)^m, and that sign goes into C. All channels and items are its columns. The adjoint is S F^H C^T.

Source: Fessler and Sutton, Nonuniform Fast Fourier Transforms Using Min-Max Interpolation, 2003, for the form; Beatty,
Nishimura and Pauly, Rapid Gridding Reconstruction With a Minimal Oversampling Ratio, 2005, for window and grid.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.finufft_plans import FinufftNUFFT
from invdiff.operators.kernels.sparse import SparsePair
from invdiff.operators.linear_map import linear_map
from invdiff.operators.oversampled_grid import OversampledGrid
from invdiff.operators.trajectory import checked_trajectory
from invdiff.shapes import Shape

Accuracy = Literal["default", "high"] | float
PRESETS = {"default": (1.5, 5, 4e-4), "high": (2.0, 6, 1e-5)}  # grid over image, taps, error for white noise
PLANNED = {"default": 1e-4, "high": 1e-6}  # finufft's tolerance of like error, for 3-D
COLUMNS = 64  # complex columns worked at a time: more take memory and save nothing


def make_nufft(
    trajectory: Any, shape: Shape, channels: int, accuracy: Accuracy = "default"
) -> "GriddedNUFFT | FinufftNUFFT":
    """The transform of images (B, channels, *shape) at a trajectory: sparse in 2-D at the presets, finufft otherwise.

    Args:
        trajectory: (n_samples, d) or (B, n_samples, d), cycles per field of view.
        shape: (H, W) or (D, H, W).
        accuracy: "default" (errors of 4e-4) or "high" (1e-5), or the tolerance for finufft, 1e-12 to 1e-1.

    Raises:
        ImportError: finufft is needed and not installed.
        TypeError, ValueError: see `checked_trajectory`; an accuracy that is none of these.
    """
    k = checked_trajectory(trajectory, shape, "NUFFT")
    if isinstance(accuracy, str) and accuracy not in PRESETS:
        raise ValueError(f'accuracy must be "default", "high" or a tolerance such as 1e-6, got {accuracy!r}.')
    if isinstance(accuracy, str) and len(shape) == 2:
        return GriddedNUFFT(k, shape, channels, accuracy)
    return FinufftNUFFT(k, shape, channels, PLANNED[accuracy] if isinstance(accuracy, str) else accuracy)


class GriddedNUFFT(LinearOperator):
    """Images (B, C, H, W) complex to samples (B, C, n), by a Kaiser-Bessel window on an oversampled grid.

    With a batch of trajectories the operator fits that batch only.

    Args:
        trajectory: (G, n, 2) float64, as `checked_trajectory` gives it; G is 1 or the batch.
        shape: (H, W). channels: C. accuracy: "default" or "high".
    """

    scale: Tensor

    def __init__(self, trajectory: Tensor, shape: Shape, channels: int, accuracy: str = "default") -> None:
        super().__init__((channels, *shape), (channels, trajectory.shape[1]), complex_in=True)
        ratio, taps, self.error = PRESETS[accuracy]
        grid = OversampledGrid(shape, ratio, taps)
        self.sizes, self.batch = grid.sizes, len(trajectory)
        self.inner = (slice(None), *grid.inner())
        first, second = grid.gains()
        scale = torch.outer(first, second) / math.sqrt(math.prod(shape))
        self.register_buffer("scale", scale[..., None].float(), persistent=False)
        index, weights = grid.stencil(trajectory)  # (G, n, J^2)
        points = math.prod(grid.sizes)
        index = index + points * torch.arange(self.batch)[:, None, None]  # one block of the diagonal per trajectory
        self.window = SparsePair(index.flatten(0, 1), weights.flatten(0, 1), self.batch * points)

    def forward(self, x: Tensor) -> Tensor:
        return linear_map(x, self._sample, self._spread)

    def _adjoint(self, y: Tensor) -> Tensor:
        return linear_map(y, self._spread, self._sample)

    def _sample(self, x: Tensor) -> Tensor:
        parts = [self._sample_columns(part) for part in self._columns(x).split(COLUMNS, dim=-1)]
        return self._items(parts)

    def _spread(self, y: Tensor) -> Tensor:
        parts = [self._spread_columns(part) for part in self._columns(y).split(COLUMNS, dim=-1)]
        return self._items(parts)

    def _columns(self, t: Tensor) -> Tensor:
        """(B, C, ...) with what shares a trajectory last: (G, ..., B C / G)."""
        return t.reshape(self.batch, -1, *t.shape[2:]).movedim(1, -1)

    def _items(self, parts: list[Tensor]) -> Tensor:
        """The inverse of `_columns`."""
        t = torch.cat(parts, -1).movedim(-1, 1)
        return t.reshape(-1, self.shape_in[0], *t.shape[2:])

    def _sample_columns(self, x: Tensor) -> Tensor:
        """(G, H, W, c) to (G, n, c)."""
        grid = x.new_zeros((len(x), *self.sizes, x.shape[-1]))
        torch.mul(x, self.scale, out=grid[self.inner])
        k = torch.fft.fftn(grid, dim=(1, 2))
        return _complex(self.window(_real(k.flatten(0, 2)))).unflatten(0, (len(x), -1))

    def _spread_columns(self, y: Tensor) -> Tensor:
        """(G, n, c) to (G, H, W, c)."""
        k = _complex(self.window.transposed(_real(y.flatten(0, 1)))).unflatten(0, (len(y), *self.sizes))
        return torch.fft.ifftn(k, dim=(1, 2), norm="forward")[self.inner] * self.scale


def _real(z: Tensor) -> Tensor:
    """(r, c) complex as (r, 2 c) real, contiguous."""
    return torch.view_as_real(z.resolve_conj().contiguous()).flatten(1)


def _complex(t: Tensor) -> Tensor:
    return torch.view_as_complex(t.unflatten(1, (-1, 2)))
