"""Pseudoinverse guidance against the exact posterior of Gaussian priors, behind many operators."""

import pytest
from torch import Tensor

from invdiff.operators import CartesianMRI
from invdiff.operators.base import LinearOperator
from tests.operators.cases import CASES, coil_maps, lines
from tests.solvers.exact import distance, stationary

OPERATORS = (
    "Identity",
    "Inpainting lines",
    "Blur circular",
    "Blur valid",
    "Downsampling bicubic",
    "CartesianMRI lines",
    "CartesianMRI coils",
    "NonCartesianMRI",
    "Product, real image",
    "Scaled, complex",
)
OPTIONS = {"steps": 60}
FLOOR = 32**-0.5  # error of the mean of 32 exact draws


def linear(name: str) -> LinearOperator:
    op = CASES[name]()
    assert isinstance(op, LinearOperator)
    return op


@pytest.mark.parametrize("name", OPERATORS)
def test_draws_spread_like_the_posterior(name: str) -> None:
    """r^2 I stands for a covariance that differs by direction, which leaves half a standard deviation at most."""
    d = distance("pigdm", linear(name), **OPTIONS)
    assert d.mean < 0.5
    assert 0.85 < d.spread < 1.1


def test_images_of_large_variance_do_not_overshoot() -> None:
    """With r^2 = sigma^2 / (1 + sigma^2) the error here is 1e17 standard deviations."""
    op = linear("CartesianMRI lines")
    d = distance("pigdm", op, prior=stationary(op, 300.0), **OPTIONS)
    assert d.mean < 0.5
    assert 0.85 < d.spread < 1.1


@pytest.mark.parametrize("told", [0.5, 2.0])
def test_a_wrong_noise_level_shows_in_the_spread(told: float) -> None:
    d = distance("pigdm", linear("Identity"), told=told, **OPTIONS)
    assert not 0.85 < d.spread < 1.1


class Unconjugated(CartesianMRI):
    """A planted fault: the adjoint leaves out a conjugate."""

    def _adjoint(self, y: Tensor) -> Tensor:
        return super()._adjoint(y.conj())

    def normal(self, x: Tensor) -> Tensor:
        return LinearOperator.normal(self, x)


def test_a_missing_conjugate_shows_in_the_mean() -> None:
    maps = coil_maps(3, 9, 8)
    right, wrong = (kind(lines(8), maps) for kind in (CartesianMRI, Unconjugated))
    assert distance("pigdm", right, **OPTIONS).mean < 0.5
    try:
        assert not distance("pigdm", right, solved_with=wrong, **OPTIONS).mean < 2
    except ArithmeticError:
        pass
