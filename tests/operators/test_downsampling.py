"""Downsampling against its definition and torch's own resampling."""

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from invdiff.operators import Downsampling
from invdiff.operators.downsampling import reduction_matrix
from tests.operators.cases import random

FILTERS = ["bicubic", "bilinear", "box"]


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_constants_stay_constant(filter: str, factor: int) -> None:
    op = Downsampling(factor, (1, 12, 24), filter)
    assert op.shape_out == (1, 12 // factor, 24 // factor)
    torch.testing.assert_close(op(torch.full((1, 1, 12, 24), 3.0)), torch.full((1, *op.shape_out), 3.0))


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("filter", FILTERS)
def test_slow_cosine_is_sampled_at_the_centres(filter: str, factor: int) -> None:
    """cos(2 pi f j) becomes a(f) cos(2 pi f centre) with one gain a near one: there is no shift."""
    n, f = 96, 2 / 96
    j = torch.arange(n, dtype=torch.float64)
    centre = (torch.arange(n // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    matrix = reduction_matrix(n, factor, filter)
    wave, wanted = torch.cos(2 * math.pi * f * j + 0.4), torch.cos(2 * math.pi * f * centre + 0.4)
    ratio = (matrix @ wave)[4:-4] / wanted[4:-4]
    assert float(ratio.mean()) == pytest.approx(1, abs=0.03)
    assert float(ratio.max() - ratio.min()) < 1e-10


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("filter", ["bicubic", "bilinear"])
def test_against_torch(filter: str, factor: int) -> None:
    x = random(2, 3, 18, 12)
    wanted = interpolate(x, scale_factor=1 / factor, mode=filter, antialias=True)
    torch.testing.assert_close(Downsampling(factor, (3, 18, 12), filter)(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3])
def test_box_is_the_mean(factor: int) -> None:
    x = random(1, 2, 6, 12)
    torch.testing.assert_close(Downsampling(factor, (2, 6, 12), "box")(x), avg_pool2d(x, factor), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_pseudo_inverse(dtype: torch.dtype) -> None:
    op, y = Downsampling(2, (1, 8, 12)), random(1, 1, 4, 6, dtype=dtype)
    x = op.pinv(y)
    torch.testing.assert_close(op(x), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x, super(Downsampling, op).pinv(y), rtol=1e-3, atol=1e-4)  # conjugate gradients
    assert op.norm() == pytest.approx(super(Downsampling, op).norm(), rel=0.02)


@pytest.mark.parametrize(
    ("factor", "shape", "filter", "message"),
    [
        (0, (1, 4, 4), "box", "whole number of 1 or more, got 0"),
        (1.5, (1, 4, 4), "box", "got 1.5"),
        (3, (1, 9, 10), "box", r"multiples of 3, got \(1, 9, 10\)"),
        (2, (4, 4), "box", r"must be \(C, H, W\)"),
        (2, (1, 4, 4), "sinc", "got 'sinc'"),
    ],
)
def test_refused(factor: int, shape: tuple[int, ...], filter: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Downsampling(factor, shape, filter)
