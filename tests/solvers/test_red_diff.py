"""RED-diff: non-linear operators, the fixed point it stands for, and how little its repeats spread."""

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import Identity
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.gaussian import GaussianPrior
from tests.operators.cases import CASES, random
from tests.solvers.exact import distance, stationary


def linear(name: str) -> LinearOperator:
    op = CASES[name]()
    assert isinstance(op, LinearOperator)
    return op


@pytest.mark.parametrize("name", ["Downsampling bicubic", "CartesianMRI lines", "Inpainting lines"])
def test_repeats_hardly_spread(name: str) -> None:
    """The variational family is a point: what spread there is comes from the noise that Adam has not averaged out."""
    d = distance("red-diff", linear(name), samples=8, steps=100)
    assert d.mean < 0.8
    assert d.spread < 0.7


def test_data_without_noise_are_met() -> None:
    op = linear("CartesianMRI coils")
    y = op(stationary(op).sample(2, 3))
    x = invdiff.solve(y, op, stationary(op), "red-diff", sigma_y=0.0, seed=0, scale=1.0, steps=200).x
    assert torch.linalg.vector_norm(op(x) - y) < 0.1 * torch.linalg.vector_norm(y)


def test_a_heavy_prior_pulls_to_its_mean() -> None:
    """With lam -> infinity the data no longer count."""
    op = Identity((1, 6, 5))
    y = 1 + 0.3 * random(1, 1, 6, 5)
    prior = GaussianPrior.stationary(torch.zeros(1, 6, 5), torch.full((1, 6, 5), 0.01))
    light, heavy = (
        invdiff.solve(y, op, prior, "red-diff", seed=0, scale=1.0, lam=lam, steps=200).x.abs().mean()
        for lam in (0.01, 100)
    )
    assert float(heavy) < 0.3 * float(light)
    assert float(light) == pytest.approx(float(y.abs().mean()), rel=0.1)


class Magnitude(Operator):
    """|x|^2 + x of real images."""

    def __init__(self) -> None:
        super().__init__((1, 8, 7), (1, 8, 7), complex_in=False)

    def forward(self, x: Tensor) -> Tensor:
        return x**2 + x


def test_non_linear_operators_are_solved() -> None:
    op = Magnitude()
    prior = GaussianPrior.stationary(torch.full((1, 8, 7), 3.0), torch.full((1, 8, 7), 0.2))
    truth = prior.sample(2, 0)
    y = op.simulate(truth, 0.05)
    x = invdiff.solve(y, op, prior, "red-diff", sigma_y=0.05, seed=0, scale=1.0, steps=200).x
    assert torch.linalg.vector_norm(x - truth) < 0.2 * torch.linalg.vector_norm(truth - 3)
