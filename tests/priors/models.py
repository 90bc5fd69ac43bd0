"""Small exact priors and a dense operator, shared by the tests of the analytic priors."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from invdiff.operators.base import LinearOperator
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.mixture import GaussianMixturePrior
from invdiff.shapes import Shape

REAL, COMPLEX = torch.float64, torch.complex128
KINDS = [REAL, COMPLEX]


def normal(*shape: int, dtype: torch.dtype = REAL, seed: int = 0) -> Tensor:
    """Unit variance in each real component."""
    generator = Generator().manual_seed(seed)
    if dtype.is_complex:
        return torch.view_as_complex(torch.randn(*shape, 2, generator=generator, dtype=dtype.to_real()))
    return torch.randn(*shape, generator=generator, dtype=dtype)


def orthonormal(rank: int, shape: Shape, dtype: torch.dtype = REAL, seed: int = 0) -> Tensor:
    """(rank, *shape)."""
    columns = torch.linalg.qr(normal(torch.Size(shape).numel(), rank, dtype=dtype, seed=seed))[0]
    return columns.mH.reshape(rank, *shape).contiguous()


def low_rank(shape: Shape = (1, 5, 4), dtype: torch.dtype = REAL, floor: float = 0.1) -> GaussianPrior:
    basis = orthonormal(3, shape, dtype, seed=1)
    return GaussianPrior.low_rank(normal(*shape, dtype=dtype, seed=2), basis, torch.tensor([4.0, 2.0, 1.0]), floor)


def stationary(shape: Shape = (1, 5, 4), dtype: torch.dtype = REAL) -> GaussianPrior:
    """A decaying spectrum; odd in k as well for complex images."""
    _, height, width = shape
    ky, kx = (torch.arange(n, dtype=torch.float64) - n // 2 for n in (height, width))
    power = 3 / (1 + ky[:, None] ** 2 + 2 * kx**2)
    if height % 2 == 0:
        power[0] = 0.2
    if width % 2 == 0:
        power[:, 0] = 0.2
    if dtype.is_complex:
        power = power * (1.5 + torch.sign(ky)[:, None])
    return GaussianPrior.stationary(normal(*shape, dtype=dtype, seed=2), power.expand(shape))


def mixture(shape: Shape = (1, 3, 4), dtype: torch.dtype = REAL, spread: float = 0.6) -> GaussianMixturePrior:
    """Three components that overlap, so that responsibilities are soft."""
    bases = torch.stack([orthonormal(2, shape, dtype, seed=k) for k in range(3)])
    return GaussianMixturePrior(
        torch.tensor([0.2, 0.3, 0.5]),
        spread * normal(3, *shape, dtype=dtype, seed=5),
        bases,
        torch.tensor([[1.0, 0.5], [0.7, 0.7], [1.5, 0.2]]),
        torch.tensor([0.05, 0.1, 0.2]),
    )


class Matrix(LinearOperator):
    """y = M x on flattened images."""

    def __init__(self, matrix: Tensor, shape_in: Shape, real_input: bool = False) -> None:
        complex_in = matrix.is_complex() and not real_input
        super().__init__(shape_in, (len(matrix),), complex_in, matrix.is_complex())
        self.register_buffer("matrix", matrix)
        self.real_linear = real_input

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).to(self.matrix.dtype) @ self.matrix.mT

    def _adjoint(self, y: Tensor) -> Tensor:
        x = (y @ self.matrix.conj()).reshape(len(y), *self.shape_in)
        return x if self.complex_in or not x.is_complex() else x.real


def real(v: Tensor) -> Tensor:
    """Real coordinates (B, m)."""
    return (torch.view_as_real(v.resolve_conj()) if v.is_complex() else v).flatten(1)


def real_matrix(f: Callable[[Tensor], Tensor], shape: Shape, dtype: torch.dtype) -> Tensor:
    """The matrix of a real-linear map on real coordinates, (out, in)."""
    size = torch.Size(shape).numel() * (2 if dtype.is_complex else 1)
    units = torch.eye(size, dtype=torch.float64)
    if dtype.is_complex:
        units = torch.view_as_complex(units.reshape(size, *shape, 2))
    return real(f(units.reshape(size, *shape))).mT
