"""Draws from the data and a Gaussian: their moments against dense algebra and numerical integration."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from invdiff.operators import CartesianMRI, GaussianBlur, Inpainting, RealToComplex, stack
from invdiff.operators.base import LinearOperator, Operator
from invdiff.random import Noise, streams
from invdiff.solvers.likelihood import draw, hamiltonian, potential

DRAWS, SIGMA, RHO = 4000, 0.3, 0.5


def white(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def sense() -> LinearOperator:
    return CartesianMRI(torch.tensor([1, 0, 1, 1, 0]), white(2, 3, 5, dtype=torch.complex64))


def real_behind_mri() -> LinearOperator:
    op = CartesianMRI(torch.tensor([1, 0, 1, 1, 0]), shape=(3, 5)) @ RealToComplex((1, 3, 5))
    assert isinstance(op, LinearOperator)
    return op


def stacked() -> LinearOperator:
    op = stack(GaussianBlur(0.8, (1, 3, 5)), Inpainting(white(3, 5, seed=3) > 0, shape=(1, 3, 5)))
    assert isinstance(op, LinearOperator)
    return op


OPERATORS: dict[str, tuple[Callable[[], LinearOperator], bool]] = {
    "SENSE": (sense, True),
    "real image behind MRI": (real_behind_mri, False),
    "stack": (stacked, False),
    "closed form": (lambda: Inpainting(white(3, 5, seed=3) > 0, shape=(1, 3, 5)), False),
}


def components(x: Tensor) -> Tensor:
    """(N, reals) of images or data."""
    return (torch.view_as_real(x) if x.is_complex() else x).flatten(1)


def dense(op: LinearOperator, is_complex: bool) -> Tensor:
    """A as a real matrix between components."""
    n = math.prod(op.shape_in) * (2 if is_complex else 1)
    basis = torch.eye(n).reshape(n, *op.shape_in, *([2] if is_complex else []))
    images = torch.view_as_complex(basis.contiguous()) if is_complex else basis
    return components(op(images)).T


def problem(name: str) -> tuple[LinearOperator, Tensor, Tensor, Tensor, Tensor]:
    """Operator, y, z, and exact mean and covariance of components."""
    make, is_complex = OPERATORS[name]
    op = make()
    z = white(1, *op.shape_in, seed=1, dtype=torch.complex64 if is_complex else torch.float32)
    y = op.simulate(z, 1.0, seed=2)
    a = dense(op, is_complex)
    precision = a.T @ a / SIGMA**2 + torch.eye(a.shape[1]) / RHO**2
    covariance = torch.linalg.inv(precision)
    mean = covariance @ (a.T @ components(y)[0] / SIGMA**2 + components(z)[0] / RHO**2)
    return op, y, z, mean, covariance


def errors(x: Tensor, mean: Tensor, covariance: Tensor) -> tuple[float, float]:
    """Largest error of a mean in its standard errors, and largest error of whitened covariances."""
    c = components(x)
    off = (c.mean(0) - mean) / (covariance.diagonal() / len(c)).sqrt()
    root = torch.linalg.inv(torch.linalg.cholesky(covariance))
    whitened = root @ torch.cov(c.T) @ root.T
    return float(off.abs().max()), float((whitened - torch.eye(len(mean))).abs().max())


def draws(op: Operator, y: Tensor, z: Tensor, sigma: float = SIGMA, rho: float = RHO, n: int = DRAWS) -> Tensor:
    noise, _ = streams(0, n)
    level, coupling = torch.full((n,), sigma), torch.full((n,), rho)
    y, z = y.expand(n, *y.shape[1:]), z.expand(n, *z.shape[1:])
    return draw(y, op, z, coupling, level, noise, inner=30)


# 4000 draws: the largest of some 450 errors of covariances of 0.016 each (variances 0.022) stays below 0.08, the
# largest of 30 means below 4.5 standard errors
@pytest.mark.parametrize("name", OPERATORS)
def test_draws_have_the_exact_mean_and_covariance(name: str) -> None:
    op, y, z, mean, covariance = problem(name)
    off, spread = errors(draws(op, y, z), mean, covariance)
    assert off < 4.5
    assert spread < 0.08


@pytest.mark.parametrize("fault", ["y not perturbed", "z not perturbed", "rho", "sigma_y"])
def test_planted_faults_show(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, y, z, mean, covariance = problem("SENSE")
    if "perturbed" in fault:
        silent, like = (y if fault[0] == "y" else z).shape[1:], Noise.like
        monkeypatch.setattr(Noise, "like", lambda self, x: like(self, x) * (x.shape[1:] != silent))
    x = draws(op, y, z, SIGMA * (1.2 if fault == "sigma_y" else 1), RHO * (1.2 if fault == "rho" else 1))
    assert errors(x, mean, covariance)[1] > 0.12


def test_noise_free_data_are_met() -> None:
    op, _, z, _, _ = problem("SENSE")
    y = op(white(1, *op.shape_in, seed=5, dtype=torch.complex64))
    x = draws(op, y, z, sigma=0.0, n=4)
    assert float((op(x) - y).norm() / y.norm()) < 2e-2  # a thousandth of rho |A|


def test_hamiltonian_chains_reach_the_gaussian_of_a_linear_operator() -> None:
    op, y, z, mean, covariance = problem("SENSE")
    n = 1000
    noise, _ = streams(1, n)
    one = torch.ones(n)
    energy = potential(y.expand(n, -1, -1, -1), op, z.expand(n, -1, -1, -1), RHO * one, SIGMA * one)
    x = hamiltonian(energy, z.expand(n, -1, -1, -1), RHO * one, noise, 30)
    off, spread = errors(x, mean, covariance)
    assert off < 4.5
    assert spread < 0.18  # as above, 0.032 each, 0.045 on the diagonal


class Square(Operator):
    """y = x^2."""

    def __init__(self) -> None:
        super().__init__((1, 1, 1), (1, 1, 1), False, False)

    def forward(self, x: Tensor) -> Tensor:
        return x**2


def test_hamiltonian_chains_agree_with_numerical_integration() -> None:
    """y = x^2 + noise around z = 0.9: mean and standard deviation of 2000 chains."""
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    weight = torch.exp(-((grid**2 - 1.0) ** 2) / (2 * SIGMA**2) - (grid - 0.9) ** 2 / (2 * RHO**2))
    mean = (weight * grid).sum() / weight.sum()
    std = ((weight * (grid - mean) ** 2).sum() / weight.sum()).sqrt()
    y, z = torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.9)
    x = draws(Square(), y, z, n=2000)
    assert abs(float(x.mean() - mean)) < 4 * float(std) / 2000**0.5
    assert float(x.std()) == pytest.approx(float(std), rel=0.08)  # 1/sqrt(2 * 2000) is 0.016


def test_a_draw_does_not_depend_on_its_batch() -> None:
    op, y, z, _, _ = problem("SENSE")
    assert torch.allclose(draws(op, y, z, n=3)[:1], draws(op, y, z, n=1), rtol=1e-4, atol=1e-5)
