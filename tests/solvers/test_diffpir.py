"""The data step of DiffPIR against dense algebra, its noise, and its distance from exact posteriors."""

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators.base import LinearOperator
from tests.operators.cases import CASES, random
from tests.solvers.exact import Oracle, distance

SIGMA, LEVEL = 0.05, 0.3


def linear(name: str) -> LinearOperator:
    op = CASES[name]()
    assert isinstance(op, LinearOperator)
    return op


def one_step(op: LinearOperator, y: Tensor, image: Tensor, told: float = 1.0) -> Tensor:
    """One level, at LEVEL: x0 itself."""
    prior = Oracle(image)
    prior.sigma_max = LEVEL
    return invdiff.solve(
        y, op, prior, "diffpir", sigma_y=told * SIGMA, scale=1.0, seed=0, steps=1, lam=7.0, inner=100
    ).x


def minimiser(op: LinearOperator, y: Tensor, image: Tensor) -> Tensor:
    """(A^H A + rho) x = A^H y + rho image with rho = 7 SIGMA^2 / LEVEL^2, by a dense solve on real images."""
    n = image.numel()
    matrix = op.normal(torch.eye(n).reshape(-1, *image.shape[1:])).flatten(1).mT.double()
    rho = 7 * SIGMA**2 / LEVEL**2
    b = (op.adjoint(y) + rho * image).flatten().double()
    return torch.linalg.solve(matrix + rho * torch.eye(n), b).reshape(image.shape).float()


@pytest.mark.parametrize("name", ["Blur reflect", "Downsampling bicubic", "Product, real image"])
def test_one_level_is_the_proximal_step(name: str) -> None:
    op = linear(name)
    image = random(1, *op.shape_in, seed=5)
    if op.support is not None:
        image = image * op.support  # of what no coil sees, no prior is asked
    y = op.simulate(random(1, *op.shape_in, seed=6), SIGMA)
    wanted = minimiser(op, y, image)
    size = torch.linalg.vector_norm(wanted - image)
    assert torch.linalg.vector_norm(one_step(op, y, image) - wanted) < 1e-2 * size  # conjugate gradients stop at 1e-5
    assert torch.linalg.vector_norm(one_step(op, y, image, told=2.0) - wanted) > 3e-2 * size  # a planted fault


def test_without_fresh_noise_only_the_start_is_random() -> None:
    op = linear("CartesianMRI lines")
    near, far = (distance("diffpir", op, steps=30, zeta=zeta).spread for zeta in (0.3, 1.0))
    assert near > 1.05 * far


@pytest.mark.parametrize("name", ["Identity", "Blur valid", "CartesianMRI coils", "Downsampling bicubic"])
def test_draws_stay_near_the_posterior_mean(name: str) -> None:
    """A proximal step is a maximum, not a draw: means within two thirds of a standard deviation, too narrow."""
    d = distance("diffpir", linear(name), steps=30, zeta=0.3)
    assert d.mean < 0.67
    assert 0.65 < d.spread < 1


def test_data_that_are_trusted_too_much_show() -> None:
    right, wrong = (distance("diffpir", linear("Identity"), steps=30, noise=0.5, told=t).mean for t in (1.0, 0.2))
    assert wrong > 1.5 * right
