"""Uniform ranks pass and planted faults show; intervals hold their share; TARP's curve is the diagonal."""

import math

import pytest
import torch
from torch import Generator, Tensor

from invdiff.calibration import (
    Measure,
    average,
    coverage,
    differs,
    expected_coverage,
    least,
    legendre,
    ranks,
    root,
    tarp_gap,
    tarp_ranks,
    uniformity,
)

N, L, D = 400, 19, 16


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def linear(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Truths (N, 16), 8 noisy sums of them, and exact, independent and prior draws (N, L, 16)."""
    a = normal(D // 2, D, seed=seed + 1) / 4
    truth = normal(N, D, seed=seed + 2)
    y = truth @ a.mT + 0.3 * normal(N, D // 2, seed=seed + 3)
    cov = torch.linalg.inv(torch.eye(D, dtype=torch.float64) + a.mT @ a / 0.09)
    mean = y @ a @ cov.mT / 0.09
    white = normal(N, L, D, seed=seed + 4)
    exact = mean[:, None] + white @ torch.linalg.cholesky(cov).mT
    loose = mean[:, None] + white * cov.diagonal().sqrt()
    return a, truth, y, exact, loose


def p_values(a: Tensor, truth: Tensor, y: Tensor, draws: Tensor) -> dict[str, float]:
    def likelihood(x: Tensor, y: Tensor) -> Tensor:
        return -(x @ a.mT - y).norm(dim=-1)

    fixed, pulled = torch.zeros_like(truth), y @ a
    return {
        "coordinates": least(uniformity(ranks(truth, draws), L)),
        "likelihood": float(uniformity(ranks(likelihood(truth, y), likelihood(draws, y[:, None])), L)),
        "TARP, one reference": float(uniformity(tarp_ranks(truth, draws, fixed), L)),
        "TARP": float(uniformity(tarp_ranks(truth, draws, pulled), L)),
    }


def test_exact_draws_pass() -> None:
    a, truth, y, exact, _ = linear()
    assert min(p_values(a, truth, y, exact).values()) > 0.001


def test_draws_that_ignore_the_data_pass_where_nothing_depends_on_them() -> None:
    a, truth, y, *_ = linear()
    p = p_values(a, truth, y, normal(N, L, D, seed=9))
    assert p["coordinates"] > 0.001
    assert p["TARP, one reference"] > 0.001
    assert max(p["likelihood"], p["TARP"]) < 1e-9


def test_right_marginals_without_correlation_pass_but_for_the_likelihood() -> None:
    a, truth, y, _, loose = linear()
    p = p_values(a, truth, y, loose)
    assert p["coordinates"] > 0.001
    assert p["likelihood"] < 1e-9


@pytest.mark.parametrize("fault", ["wide", "narrow", "shifted"])
def test_wrong_spread_and_mean_show(fault: str) -> None:
    a, truth, y, exact, _ = linear()
    mean = exact.mean(1, keepdim=True)
    off = {"wide": mean + 1.2 * (exact - mean), "narrow": mean + 0.8 * (exact - mean), "shifted": exact + 0.3}[fault]
    p = p_values(a, truth, y, off)
    assert p["likelihood"] < 1e-6
    assert min(p.values()) < 1e-6


def test_p_values_of_uniform_ranks_are_uniform() -> None:
    found = uniformity(torch.randint(0, L + 1, (24, 20000), generator=Generator().manual_seed(1)), L)
    for level in (0.5, 0.05, 0.01):
        share = float((found < level).double().mean())
        assert share == pytest.approx(level, abs=4 * math.sqrt(level / 20000) + 0.05 * level)  # 4 standard errors, 5 %


def test_polynomials_are_orthonormal_over_ranks() -> None:
    q = legendre(L, 3)
    torch.testing.assert_close(q.mT @ q / (L + 1), torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(q.sum(0), torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="at least as many draws"):
        legendre(1, 2)


def test_ranks_count_draws_below() -> None:
    draws = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    assert ranks(torch.tensor([2.5, 0.0]), draws).tolist() == [2, 0]


@pytest.mark.parametrize(("draws", "level", "expected"), [(19, 0.5, 0.5), (19, 0.9, 0.9), (9, 0.9, 1.0), (4, 0.5, 0.6)])
def test_intervals_hold_their_share_of_uniform_ranks(draws: int, level: float, expected: float) -> None:
    every = torch.arange(draws + 1)[:, None]
    found = coverage(every, draws, level)
    assert found.expected == pytest.approx(expected)
    assert float(found.inside.mean()) == pytest.approx(expected)


def test_a_level_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="level must be"):
        coverage(torch.zeros(2, 1), 19, 1.0)


def test_the_curve_of_uniform_ranks_is_the_diagonal() -> None:
    every = torch.arange(L + 1).repeat(5)
    level, share = expected_coverage(every, L)
    torch.testing.assert_close(share, level)
    assert tarp_gap(every, L) < 1e-12
    assert tarp_gap(torch.full((20,), L), L) == pytest.approx(1 - 1 / (L + 1))


def test_means_are_tested_with_their_error() -> None:
    values = normal(50) + 1
    assert differs(values, 1.0) > 0.01
    assert differs(values, 3.0) < 1e-9
    assert differs(torch.ones(5), 1.0) == 1.0
    assert differs(torch.ones(5), 2.0) == 0.0


def test_errors_fall_with_the_root_of_the_count() -> None:
    assert average(normal(10000)).error == pytest.approx(0.01, rel=0.05)
    assert root(Measure(4.0, 0.4)).value == 2.0
    assert root(Measure(4.0, 0.4)).error == pytest.approx(0.1, rel=0.01)
    assert root(Measure(-0.1, 0.2)).value == 0.0
