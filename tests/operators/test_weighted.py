"""Weighted measurements: weighted least squares through `solve`, and what the weights hand on."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import Blur, CartesianMRI, HighDynamicRange, Identity, LinearOperator, Weighting, weighted
from invdiff.operators.weighted import whitened
from invdiff.priors.gaussian import GaussianPrior
from tests.operators.cases import coil_maps, lines, random

SHAPE = (1, 6, 5)
BLUR = Blur(random(3, 3, seed=4), SHAPE, padding="valid")


def problem() -> tuple[Tensor, Tensor]:
    """A measurement (2, 1, 4, 3) and its noise levels, spread over a factor of a hundred."""
    sigma = 10 ** (2 * torch.rand(2, 1, 4, 3, generator=torch.Generator().manual_seed(1)) - 2)
    return BLUR(random(2, *SHAPE)) + sigma * random(2, 1, 4, 3, seed=2), sigma


def nothing(y: Tensor, op: LinearOperator, prior: Any = None, *, noise: Any, callback: Any) -> Tensor:
    return torch.zeros_like(y)


def matrix() -> Tensor:
    return BLUR(torch.eye(30).reshape(30, *SHAPE)).flatten(1).T.double()


def test_cg_gives_the_weighted_least_squares_image() -> None:
    y, sigma = problem()
    rho = 1e-3
    result = invdiff.solve(y, BLUR, method="cg", sigma_y=sigma, weight=rho, iterations=200, tol=1e-7, seed=0)
    norms = weighted(BLUR, 1 / sigma).norm() ** 2  # cg counts its weight in units of |A|^2
    for i in range(2):
        a = matrix() / sigma[i].double().reshape(-1, 1)
        b = (y[i] / sigma[i]).double().flatten()
        exact = torch.linalg.solve(a.T @ a + rho * norms * torch.eye(30), a.T @ b)
        error = (result.x[i].double().flatten() - exact).norm() / exact.norm()
        assert error < 1e-3  # single precision at a condition number of 1 / rho
    plain = invdiff.solve(y, BLUR, method="cg", sigma_y=0.1, weight=rho, iterations=200, tol=1e-7, seed=0)
    assert (plain.x - result.x).norm() > 0.1 * result.x.norm()  # the weights do something
    assert result.sigma_y is sigma
    assert torch.equal(y, problem()[0])


def test_equal_levels_are_the_level() -> None:
    y, _ = problem()
    one = invdiff.solve(y, BLUR, method="cg", sigma_y=0.2, seed=0)
    every = invdiff.solve(y, BLUR, method="cg", sigma_y=torch.full_like(y, 0.2), seed=0)
    torch.testing.assert_close(every.x, one.x, rtol=1e-4, atol=1e-5)
    assert one.chi2 is not None
    torch.testing.assert_close(every.chi2, one.chi2, rtol=1e-3, atol=0)


def test_chi2_is_one_for_noise_of_the_given_levels() -> None:
    op, truth = Identity((1, 64, 64)), torch.zeros(1, 1, 64, 64)
    sigma = 0.1 + random(1, 1, 64, 64, seed=3).abs()
    y = truth + sigma * random(1, 1, 64, 64, seed=4)
    result = invdiff.solve(y, op, method=nothing, sigma_y=sigma)
    assert result.chi2 is not None
    assert float(result.chi2) == pytest.approx(1, abs=5 * math.sqrt(2 / 4096))  # five standard errors


@pytest.mark.parametrize("method", ["dps", "sitcom", "dds"])
def test_samplers_leave_entries_of_infinite_level_out(method: str) -> None:
    prior = GaussianPrior.stationary(torch.zeros(SHAPE), torch.ones(SHAPE))
    sigma = torch.full((1, *SHAPE), 0.05)
    sigma[..., 0, :] = torch.inf
    y = random(1, *SHAPE)
    options = {"dps": {"steps": 10}, "sitcom": {"steps": 4, "inner": 5}, "dds": {"steps": 6}}[method]
    results = []
    for garbage in (0.0, 1e6):
        wild = y.clone()
        wild[..., 0, :] = garbage
        results.append(invdiff.solve(wild, Identity(SHAPE), prior, method, sigma_y=sigma, seed=0, **options).x)
    assert torch.equal(results[0], results[1])


def test_what_is_not_measured_stays_so() -> None:
    scan = CartesianMRI(lines(8), coil_maps(3, 9, 8))
    weights = torch.ones(3, 9, 8)
    weights[0] = 0
    op = weighted(scan, weights)
    assert isinstance(op, LinearOperator)
    assert op.sampled is not None
    assert torch.equal(op.sampled, scan.sampled & (weights > 0))
    assert op.support is scan.support
    assert weighted(scan, torch.ones(3, 9, 8)).sampled is scan.sampled


def test_weights_do_not_change_the_intensity_scale() -> None:
    scan = CartesianMRI(torch.ones(16, 16))
    x = random(1, 1, 16, 16, dtype=torch.complex64)
    y, op = whitened(scan(x), scan, 10 ** random(1, 1, 16, 16))
    torch.testing.assert_close(op.reference_image(y), scan.reference_image(scan(x)), rtol=1e-4, atol=1e-5)  # type: ignore[union-attr]


def test_weights_behind_a_non_linear_operator() -> None:
    op = weighted(HighDynamicRange(SHAPE), torch.full(SHAPE, 3.0))
    assert not isinstance(op, LinearOperator)
    x = random(2, *SHAPE)
    torch.testing.assert_close(op(x), 3 * HighDynamicRange(SHAPE)(x))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-torch.ones(SHAPE), "0 or more"),
        (torch.zeros(SHAPE), "not zero everywhere"),
        (torch.full(SHAPE, torch.nan), "finite"),
        (torch.ones(6, 4), r"broadcast to \(B, 1, 6, 5\), got \(6, 4\)"),
        (torch.ones(1, 1, 1, 6, 5), "broadcast to"),
    ],
)
def test_bad_weights_are_refused(weights: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Weighting(weights, SHAPE)


def test_bad_levels_are_refused() -> None:
    y, sigma = problem()
    with pytest.raises(ValueError, match="positive"):
        invdiff.solve(y, BLUR, method="cg", sigma_y=0 * sigma)
    with pytest.raises(ValueError, match=r"sigma_y must broadcast to \(B, 1, 4, 3\), got \(2, 1, 4, 2\)"):
        invdiff.solve(y, BLUR, method="cg", sigma_y=sigma[..., :2])
    with pytest.raises(ValueError, match="for 3 items, y has 2"):
        invdiff.solve(y, BLUR, method="cg", sigma_y=torch.ones(3, 1, 1, 1))
    with pytest.raises(TypeError, match="real"):
        Weighting(torch.ones(SHAPE) * 1j, SHAPE)
