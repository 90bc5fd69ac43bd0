"""CG and power iteration against dense algebra, sample by sample."""

import pytest
import torch

from invdiff.linalg import cg, power_iteration


def matrix(seed: int, n: int = 12, dtype: torch.dtype = torch.complex128) -> torch.Tensor:
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return a.mH @ a + 0.1 * torch.eye(n, dtype=dtype)


def test_cg_solves_a_batch_of_different_systems() -> None:
    a = torch.stack([matrix(0), matrix(1), 100 * matrix(2)])
    b = torch.randn(3, 12, generator=torch.Generator().manual_seed(3), dtype=torch.complex128)
    x = cg(lambda v: torch.einsum("bij,bj->bi", a, v), b, iterations=200, tol=1e-12)
    torch.testing.assert_close(x, torch.linalg.solve(a, b), rtol=1e-8, atol=1e-8)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    a = torch.stack([matrix(0), 50 * matrix(1)])
    b = torch.randn(2, 12, generator=torch.Generator().manual_seed(3), dtype=torch.complex128)
    both = cg(lambda v: torch.einsum("bij,bj->bi", a, v), b, iterations=30, tol=1e-3)
    alone = cg(lambda v: torch.einsum("bij,bj->bi", a[:1], v), b[:1], iterations=30, tol=1e-3)
    torch.testing.assert_close(both[:1], alone, rtol=1e-12, atol=0)


def test_zero_right_hand_side_and_exact_start_give_finite_answers() -> None:
    a = matrix(0)
    b = torch.zeros(1, 12, dtype=torch.complex128)
    assert torch.equal(cg(lambda v: v @ a.T, b, iterations=5, tol=0.0), b)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_power_iteration_finds_the_largest_eigenvalue_at_any_scale(scale: float) -> None:
    a = scale * matrix(4)
    start = torch.randn(1, 12, generator=torch.Generator().manual_seed(0), dtype=torch.complex128)
    value = power_iteration(lambda v: v @ a.T, start, iterations=500, tol=1e-9)
    assert float(value) == pytest.approx(float(torch.linalg.eigvalsh(a)[-1]), rel=1e-4)


def test_power_iteration_of_zero_is_zero() -> None:
    assert float(power_iteration(lambda v: 0 * v, torch.ones(1, 3))) == 0
