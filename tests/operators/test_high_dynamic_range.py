"""Clipped exposures: the benchmark's values, the same picture in other units, gradients."""

import pytest
import torch

from invdiff.operators import HighDynamicRange
from tests.operators.cases import random

SHAPE = (2, 5, 3)


def test_the_benchmark() -> None:
    x = random(3, *SHAPE)
    assert torch.equal(HighDynamicRange(SHAPE)(x), (2 * x).clamp(-1, 1))


def test_the_same_picture_in_other_units() -> None:
    """x' = a x + b of the range and the image gives y' = a y + b."""
    x, a, b = random(3, *SHAPE, dtype=torch.float64), 50.0, 20.0
    physical = HighDynamicRange(SHAPE, 3.0, range=(b - a, b + a))(a * x + b)
    torch.testing.assert_close(physical, a * HighDynamicRange(SHAPE, 3.0)(x) + b, rtol=1e-12, atol=1e-12)


def test_the_gradient_is_the_factor_or_zero() -> None:
    op, x = HighDynamicRange((4,), 2.0), torch.tensor([[-0.7, -0.2, 0.4, 0.6]])
    assert op.vjp(x, torch.ones_like(x)).tolist() == [[0, 2, 2, 0]]
    assert op.norm() == pytest.approx(2, rel=1e-5)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="factor must be above 0"):
        HighDynamicRange(SHAPE, 0)
    with pytest.raises(ValueError, match="finite and increasing"):
        HighDynamicRange(SHAPE, range=(1.0, 1.0))
    with pytest.raises(TypeError, match="takes a real x"):
        HighDynamicRange(SHAPE)(random(1, *SHAPE, dtype=torch.complex64))
