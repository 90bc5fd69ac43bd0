"""y = A x + n with x from a prior whose posterior is known: what `check_solver` runs a method on.

Images of 8x8 pixels: small enough for the covariance matrix of every posterior.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from invdiff.operators import CartesianMRI, GaussianBlur, Inpainting, ParallelBeamCT
from invdiff.operators.base import LinearOperator
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.gaussian_posterior import GaussianPosterior, like_rows, real_rows
from invdiff.priors.mixture import GaussianMixturePrior
from invdiff.priors.mixture_posterior import MixturePosterior
from invdiff.shapes import dot, real_size

SIZE = 8
SHAPE = (1, SIZE, SIZE)
ExactPrior = GaussianPrior | GaussianMixturePrior


class Problem(NamedTuple):
    """A prior, a linear operator, and the noise standard deviation per real component of y."""

    prior: ExactPrior
    op: LinearOperator
    sigma_y: float


def gaussian(is_complex: bool = False) -> GaussianPrior:
    """Smooth images: a stationary Gaussian of mean 0.2 whose spectrum falls from 1.5."""
    f = torch.arange(SIZE) - SIZE // 2
    spectrum = 1.5 / (1 + (f[:, None] ** 2 + f**2) / 2) ** 1.5
    mean = torch.full(SHAPE, 0.2, dtype=torch.complex64 if is_complex else torch.float32)
    return GaussianPrior.stationary(mean, spectrum[None]).describe(sigma_min=0.01, sigma_max=20.0)


def mixture(is_complex: bool = False) -> GaussianMixturePrior:
    """Three modes, bright left, bright right and rougher without either, in the share 0.5, 0.3, 0.2.

    The modes overlap: data tell most images' mode, not all. Complex images have a fixed phase ramp.
    """
    f = torch.arange(SIZE)
    cosine = torch.cos(math.pi * f[:, None] * (f + 0.5) / SIZE) * torch.where(f == 0, 1.0, math.sqrt(2))[:, None]
    waves = torch.einsum("ah,bw->abhw", cosine, cosine).flatten(0, 1) / SIZE
    square = (f[:, None] ** 2 + f**2).flatten().float()
    low = square.argsort(stable=True)[:12]
    phase = torch.exp(0.5j * math.pi * f / SIZE) if is_complex else torch.ones(SIZE)
    basis = waves[low, None] * phase
    means = torch.stack([0.125 * SIZE * sign * waves[1] for sign in (1, -1, 0)])[:, None] * phase
    variances = torch.tensor([0.5, 0.5, 1.5])[:, None] / (1 + square[low] / 2) ** 1.5
    weights, floors = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.02, 0.02, 0.05])
    out = GaussianMixturePrior(weights, means, basis.expand(3, *basis.shape), variances, floors)
    return out.describe(sigma_min=0.01, sigma_max=20.0)


class Dense(LinearOperator):
    """A real operator as its matrix, which is faster than compiled code that is called for each small image."""

    matrix: Tensor

    def __init__(self, op: LinearOperator) -> None:
        super().__init__(op.shape_in, op.shape_out, False)
        units = torch.eye(real_size(op.shape_in, False)).reshape(-1, *op.shape_in)
        self.register_buffer("matrix", op(units).flatten(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix).reshape(-1, *self.shape_out)

    def _adjoint(self, y: Tensor) -> Tensor:
        return (y.flatten(1) @ self.matrix.mT).reshape(-1, *self.shape_in)


def _pixels() -> LinearOperator:
    return Inpainting(torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.5, SHAPE)


def _lines() -> LinearOperator:
    return CartesianMRI(torch.tensor([0, 0, 1, 1, 1, 0, 1, 0], dtype=torch.bool), shape=(SIZE, SIZE))


OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "inpainting": _pixels,
    "blur": lambda: GaussianBlur(1.0, SHAPE, size=5),
    "MRI": _lines,
    "CT": lambda: Dense(ParallelBeamCT(torch.arange(5) * math.pi / 5, (SIZE, SIZE))),
}
PRIORS: dict[str, Callable[[bool], ExactPrior]] = {"Gaussian": gaussian, "mixture": mixture}
PROBLEMS = tuple(f"{prior}, {op}" for prior in PRIORS for op in OPERATORS)
"""Names that `problem` knows."""
QUICK = ("Gaussian, inpainting", "Gaussian, MRI", "mixture, blur", "mixture, CT")


def problem(name: str) -> Problem:
    """The problem of this name; noise of 0.1 |A|."""
    prior, op = name.split(", ")
    operator = OPERATORS[op]()
    return Problem(PRIORS[prior](bool(operator.complex_in)), operator, 0.1 * operator.norm())


class Directions(NamedTuple):
    """Directions in which prior and data are both without correlation, and which of them the data speak on.

    rows: (d, *shape_in), double precision: coordinate j of x is Re <rows_j, x>, of unit variance under the prior.
    measured: (d,) bool: the data say more of it than the prior.
    """

    rows: Tensor
    measured: Tensor

    def of(self, x: Tensor) -> Tensor:
        """Coordinates (..., d) of images (..., *shape_in)."""
        flat = x.flatten(0, -4)
        return (real_rows(flat).double() @ real_rows(self.rows).mT).reshape(*x.shape[:-3], -1)

    def deviations(self, posterior: GaussianPosterior | MixturePosterior) -> Tensor:
        """Exact posterior standard deviation of each coordinate, (B, d)."""
        batch = len(posterior.mean)
        rows = [row.expand(batch, *row.shape) for row in self.rows]
        return torch.stack([dot(row, posterior.cov(row)).real for row in rows], 1).sqrt()


def directions(prior: ExactPrior, op: LinearOperator, sigma_y: float) -> Directions:
    """Eigenvectors of C^1/2 A^H A C^1/2 / sigma_y^2, in which an eigenvalue is the data's information over the prior's.

    Source: Spantini et al., Optimal Low-Rank Approximations of Bayesian Linear Inverse Problems, SIAM Journal on
    Scientific Computing 2015, equation 2.4.
    """
    size = real_size(op.shape_in, prior.complex)
    like = torch.zeros(1, *op.shape_in, dtype=torch.complex128 if prior.complex else torch.float64)
    units = like_rows(torch.eye(size, dtype=torch.float64), like)
    values, vectors = torch.linalg.eigh(_covariance(prior, units))
    a = real_rows(op(units.to(torch.complex64 if prior.complex else torch.float32))).double()
    half = vectors * values.sqrt() @ vectors.mT
    information, turn = torch.linalg.eigh(half @ a @ a.mT @ half / sigma_y**2)
    whitened = turn.mT @ (vectors / values.sqrt() @ vectors.mT)
    return Directions(like_rows(whitened, like), information > 1)


def _covariance(prior: ExactPrior, units: Tensor) -> Tensor:
    """Of the prior over all modes, in real coordinates."""
    if isinstance(prior, GaussianPrior):
        return real_rows(prior.cov(units)).double()
    weights = prior.mixture.weights
    parts = [prior.component(k) for k in range(len(prior))]
    within = sum(w * real_rows(part.cov(units)) for w, part in zip(weights, parts, strict=True))
    off = real_rows(torch.cat([part.mean for part in parts]))
    off = off - weights @ off
    return within + (weights * off.mT) @ off
