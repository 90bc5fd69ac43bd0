"""A^H W A x = crop(F^H K F pad(x)),   K = F t,   t(r) = 1/N sum_j w_j exp(2 pi i k_j r / N): no sample is gridded.

The normal operator of a non-uniform transform is a convolution over differences of pixels, -N < r < N, so on a grid of
2N - 1 points or more it is a product. With real weights t(-r) = conj t(r), and K is real. F is the transform without
scale (a pass of its own on CUDA), which K contains.

Source: Wajer and Pruessmann, Major Speedup of Reconstruction for Sensitivity Encoding with Arbitrary Trajectories,
2001; Fessler et al., Toeplitz-Based Iterative Image Reconstruction for MRI With Correction for Magnetic Field
Inhomogeneity, 2005.
Differs: t is computed once in double precision to 1e-10 with a window of its own, not by the transform in use.
"""

import math

import torch
from torch import Tensor

from invdiff.operators.finufft_plans import FinufftNUFFT
from invdiff.operators.oversampled_grid import OversampledGrid, even_fast_size
from invdiff.shapes import Shape

TAPS, RATIO = 12, 2.0  # errors of 1e-11
CHUNK = 1 << 14  # samples spread at a time
TOLERANCE = 1e-10  # of finufft, in three dimensions


def toeplitz_kernel(trajectory: Tensor, shape: Shape, weights: Tensor | None = None) -> Tensor:
    """K, (G, *L) float64 with L >= 2 N - 1 along every axis.

    Args:
        trajectory: (G, n, d) float64, cycles per field of view.
        shape: N, two or three sizes.
        weights: w, (G or 1, n) real; None is 1.

    Raises:
        ImportError: three dimensions without finufft.
    """
    w = trajectory.new_ones(trajectory.shape[:2]) if weights is None else weights.to(trajectory)
    respond = _response_2d if len(shape) == 2 else _response_3d
    pairs = zip(trajectory, w.expand(trajectory.shape[:2]), strict=True)
    return torch.stack([_spectrum(respond(k, v, shape), shape) for k, v in pairs])


def apply_toeplitz(x: Tensor, kernel: Tensor) -> Tensor:
    """crop(F^H K F pad(x)) of images (B, C, *N) for kernels (B or 1, 1, *L)."""
    axes = tuple(range(2, x.ndim))
    k = torch.fft.fftn(x, s=kernel.shape[2:], dim=axes).mul_(kernel)
    return torch.fft.ifftn(k, dim=axes, norm="forward")[tuple(slice(n) for n in x.shape)]


def _response_2d(k: Tensor, w: Tensor, shape: Shape) -> Tensor:
    """N t(r), r from -(N - 1) to N - 1 along both axes, complex128: the spread weights are real."""
    k, sizes = _widened(k, shape)
    grid = OversampledGrid(sizes, RATIO, TAPS)
    spread = torch.zeros(math.prod(grid.sizes), dtype=torch.float64)
    for part, v in zip(k.split(CHUNK), w.split(CHUNK), strict=True):
        index, weights = grid.stencil(part)
        spread.index_add_(0, index.flatten(), (v[:, None] * weights).flatten())
    first, second = grid.gains()
    return torch.fft.ifftn(spread.unflatten(0, grid.sizes), norm="forward")[grid.inner()] * torch.outer(first, second)


def _response_3d(k: Tensor, w: Tensor, shape: Shape) -> Tensor:
    """The same along three axes, by finufft."""
    k, sizes = _widened(k, shape)
    op = FinufftNUFFT(k[None], sizes, 1, TOLERANCE).double()
    return op.adjoint(w.to(torch.complex128)[None, None])[0, 0] * math.sqrt(math.prod(sizes))


def _widened(k: Tensor, shape: Shape) -> tuple[Tensor, Shape]:
    """The trajectory in cycles per field of view of 2 N - 1 pixels, and these sizes."""
    sizes = tuple(2 * n - 1 for n in shape)
    return k * torch.tensor(sizes) / torch.tensor(shape), sizes


def _spectrum(response: Tensor, shape: Shape) -> Tensor:
    """K from N t(r): zero frequency first, on a grid that transforms fast."""
    grid = response.new_zeros([even_fast_size(2 * n - 1) for n in shape])
    grid[tuple(slice(0, 2 * n - 1) for n in shape)] = response
    axes = tuple(range(len(shape)))
    centred = grid.roll([1 - n for n in shape], axes)
    return torch.fft.fftn(centred).real / (math.prod(shape) * grid.numel())
