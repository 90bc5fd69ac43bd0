"""`daps` and `pnp-dm` against exact posteriors: of a Gaussian behind any operator, and of two modes."""

from typing import Any

import pytest
import torch

import invdiff
from invdiff.operators import Inpainting
from invdiff.priors import GaussianMixturePrior
from invdiff.priors.posterior import exact_posterior
from tests.solvers.operators import OPERATORS, coils, smooth

SIZE, SIGMA, DRAWS = (7, 8), 0.1, 64
METHODS: dict[str, dict[str, Any]] = {"daps": {"steps": 60}, "pnp-dm": {}}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("method", METHODS)
def test_draws_of_any_linear_operator_follow_the_posterior(method: str, name: str) -> None:
    """Means within 0.3 posterior standard deviations (exact draws: 0.13), spread of pixels within 10 %."""
    make, is_complex = OPERATORS[name]
    op, gaussian = make(SIZE), smooth(is_complex, SIZE)
    y = op.simulate(gaussian.sample(1, 4), SIGMA, seed=5)
    exact = exact_posterior(gaussian, op, y, SIGMA)
    result = invdiff.solve(
        y, op, gaussian, method, sigma_y=SIGMA, scale=1.0, seed=0, num_samples=DRAWS, progress=False, **METHODS[method]
    )
    error = (result.x - exact.mean).abs() / exact.std() / (2**0.5 if is_complex else 1)
    assert float(error.square().mean().sqrt()) < 0.3
    variance = (result.samples[0] - result.x).abs().square().sum(0) / (DRAWS - 1) / (2 if is_complex else 1)
    ratio = (variance.mean() / exact.std().square().mean()).sqrt()
    assert float(ratio) == pytest.approx(1, abs=0.1)


def test_the_average_of_the_last_turns_is_nearer_to_the_mean() -> None:
    op, gaussian = coils(SIZE), smooth(True, SIZE)
    y = op.simulate(gaussian.sample(1, 4), SIGMA, seed=5)
    exact = exact_posterior(gaussian, op, y, SIGMA).mean
    images = [
        invdiff.solve(y, op, gaussian, "pnp-dm", sigma_y=SIGMA, scale=1.0, seed=0, rho_min=0.05, average=n).x
        for n in (1, 20)
    ]
    one, many = (float((x - exact).norm()) for x in images)
    assert many < 0.9 * one


def two_modes(left: float) -> GaussianMixturePrior:
    """Bright or dark on the right half, unequal in weight; the left half differs by 2 `left` between them.

    Both vary about their mean in the same way.
    """
    means = torch.zeros(2, 1, 4, 6)
    means[:, :, :, 3:] = torch.tensor([0.8, -0.8]).view(2, 1, 1, 1)
    means[:, :, :, :3] = torch.tensor([left, -left]).view(2, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(24, 3, generator=generator))[0].T.reshape(1, 3, 1, 4, 6)
    weights = torch.tensor([0.7, 0.3])
    bases, variances, floors = basis.repeat(2, 1, 1, 1, 1), torch.full((2, 3), 0.1), torch.full((2,), 0.02)
    out = GaussianMixturePrior(weights, means, bases, variances, floors)
    out.describe(sigma_min=0.01, sigma_max=10.0)
    return out


def bright(method: str, left: float) -> tuple[float, float, float]:
    """Share of draws in the bright mode and of the exact posterior, and ratio of spreads; the left half is measured."""
    mixture, seen = two_modes(left), torch.zeros(4, 6, dtype=torch.bool)
    seen[:, :3] = True
    op = Inpainting(seen, shape=(1, 4, 6))
    y = op.simulate(mixture.component(1).sample(1, 2), 0.3, seed=1)
    exact = exact_posterior(mixture, op, y, 0.3)
    draws = invdiff.solve(
        y, op, mixture, method, sigma_y=0.3, scale=1.0, seed=0, num_samples=300, progress=False, **METHODS[method]
    ).samples[0]
    share = (draws[:, 0, :, 3:].mean((1, 2)) > 0).float().mean()
    spread = (draws.var(0).mean() / exact.std().square().mean()).sqrt()
    return float(share), float(exact.weights[0, 0]), float(spread)


@pytest.mark.parametrize("left", [0.0, 0.8])
@pytest.mark.parametrize("method", METHODS)
def test_modes_are_visited_by_their_weight(method: str, left: float) -> None:
    """Data that say nothing of the mode, and data that decide it; 300 draws, a standard error of 0.027."""
    share, exact, spread = bright(method, left)
    assert share == pytest.approx(exact, abs=0.07)
    assert spread == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_weak_evidence_of_a_mode_is_lost(method: str) -> None:
    """A known limit: the mode is chosen at the level that separates the right half, where the left one is hidden."""
    share, exact, _ = bright(method, 0.15)
    assert exact < 0.25
    assert exact + 0.1 < share < 0.75
