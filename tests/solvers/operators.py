"""Linear operators of three kinds, for images of any size, and smooth images behind them."""

from collections.abc import Callable

import torch

from invdiff.operators import CartesianMRI, GaussianBlur, Inpainting, RealToComplex, stack
from invdiff.operators.base import LinearOperator
from invdiff.priors import GaussianPrior

Size = tuple[int, int]


def smooth(is_complex: bool, size: Size) -> GaussianPrior:
    """Mean 0.2, a spectrum that falls from 1."""
    y, x = torch.meshgrid(*(torch.arange(n) - n // 2 for n in size), indexing="ij")
    mean = torch.full((1, *size), 0.2, dtype=torch.complex64 if is_complex else torch.float32)
    prior = GaussianPrior.stationary(mean, (1 / (1 + (y**2 + x**2) / 4.0) ** 1.5)[None])
    prior.describe(sigma_min=0.01, sigma_max=10.0)
    return prior


def lines(size: Size) -> torch.Tensor:
    return torch.arange(size[1]) % 3 != 1


def coils(size: Size) -> LinearOperator:
    generator = torch.Generator().manual_seed(1)
    return CartesianMRI(lines(size), 1 + 0.5 * torch.randn(3, *size, dtype=torch.complex64, generator=generator))


def real_behind_mri(size: Size) -> LinearOperator:
    op = CartesianMRI(lines(size), shape=size) @ RealToComplex((1, *size))
    assert isinstance(op, LinearOperator)
    return op


def stacked(size: Size) -> LinearOperator:
    few = torch.arange(size[0] * size[1]).view(size) < 7
    op = stack(GaussianBlur(1.0, (1, *size)), 3 * Inpainting(few, shape=(1, *size)))
    assert isinstance(op, LinearOperator)
    return op


OPERATORS: dict[str, tuple[Callable[[Size], LinearOperator], bool]] = {
    "coils": (coils, True),
    "real image behind MRI": (real_behind_mri, False),
    "blur and a few pixels": (stacked, False),
}
"""Each with whether its images are complex."""
