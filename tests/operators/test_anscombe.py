"""The variance of transformed counts."""

import math

import pytest
import torch

from invdiff.operators import Anscombe, anscombe


@pytest.mark.parametrize("mean", [3.0, 20.0, 1000.0])
def test_transformed_counts_have_unit_noise(mean: float) -> None:
    counts = torch.poisson(torch.full((100_000,), mean), generator=torch.Generator().manual_seed(0))
    error = 5 / math.sqrt(2 * 100_000)  # five standard errors
    assert float(anscombe(counts).std()) == pytest.approx(1, abs=error + 0.01)
    assert not float(counts.sqrt().mul(3).std()) == pytest.approx(1, abs=error + 0.01)
    expected = float(Anscombe((1,))(torch.tensor([[mean]])))
    assert float(anscombe(counts).mean()) == pytest.approx(expected, abs=1 / (4 * math.sqrt(mean)) + 0.02)


def test_the_gradient_is_bounded() -> None:
    op, x = Anscombe((3,)), torch.tensor([[-1.0, 0.0, 5.625]])
    torch.testing.assert_close(op.vjp(x, torch.ones_like(x)), torch.tensor([[0.0, (3 / 8) ** -0.5, 6**-0.5]]))
