"""The scale of operators that are not linear: known gains, per item, and through units."""

import math

import pytest
import torch
from torch import Tensor

from invdiff.operators import (
    Blur,
    CartesianMRI,
    HighDynamicRange,
    Magnitude,
    Operator,
    ParallelBeamCT,
    PhaseRetrieval,
    Transmission,
    stack,
    weighted,
)
from invdiff.operators.anscombe import Anscombe
from invdiff.operators.local_norm import local_norm
from tests.operators.cases import KERNEL, coil_maps, lines

SHAPE = (1, 9, 8)


class Power(Operator):
    """x^p + 1, for each item its own p."""

    exponent: Tensor

    def __init__(self, exponent: Tensor) -> None:
        super().__init__(SHAPE, SHAPE, complex_in=False)
        self.register_buffer("exponent", exponent.reshape(-1, 1, 1, 1), persistent=False)
        self.batch = len(exponent)

    def forward(self, x: Tensor) -> Tensor:
        return x**self.exponent + 1


def test_known_gains() -> None:
    assert HighDynamicRange(SHAPE, 3.0).norm() == pytest.approx(3, rel=1e-3)
    assert PhaseRetrieval(SHAPE).norm() == pytest.approx(1, rel=0.05)  # twelve iterations approach it from below
    blur = Blur(KERNEL, SHAPE)
    assert (HighDynamicRange(SHAPE, 0.5) @ blur).norm() == pytest.approx(0.5 * blur.norm(), rel=0.05)
    assert weighted(HighDynamicRange(SHAPE), torch.full(SHAPE, 5.0)).norm() == pytest.approx(10, rel=1e-3)
    both = stack(HighDynamicRange(SHAPE, 3.0), HighDynamicRange(SHAPE, 4.0))
    assert both.norm() == pytest.approx(5, rel=1e-3)
    scan = CartesianMRI(lines(8), coil_maps(3, 9, 8))
    assert (Magnitude(scan.shape_out) @ scan).norm() == pytest.approx(scan.norm(), rel=0.3)


def test_the_largest_of_the_items_counts() -> None:
    one, two = (Power(torch.tensor([p])).norm() for p in (1.0, 2.0))
    assert one == pytest.approx(1, rel=1e-4)
    assert two < 0.9  # 2 x at x of about 0.1
    assert Power(torch.tensor([2.0, 1.0])).norm() == pytest.approx(1, rel=1e-4)


def test_gains_in_a_priors_units() -> None:
    """A(s x + o) / s has the gain of A at o."""
    squared = Power(torch.tensor([2.0]))
    seen = squared.affine(torch.full((3,), 0.01), torch.full((3,), 7.0))
    assert seen.norm() == pytest.approx(14, rel=0.01)
    assert squared.affine(torch.tensor([0.01, 0.01]), torch.tensor([7.0, 70.0])).norm() == pytest.approx(140, rel=0.01)


class Nearsighted(Transmission):
    """Without its reach."""

    def reach(self) -> float:
        return math.inf


def test_photon_counts_in_physical_units() -> None:
    """In mm and mm^-1 the gain without an object is I0 |A|, alone, weighted, stacked and under a map of the image."""
    projector = ParallelBeamCT(torch.arange(12) * math.pi / 12, (32, 32), pixel=20.0)
    op = Transmission(projector, 1e4)
    size, one = projector.norm(), torch.ones(1)
    assert size > 300
    assert op.norm() == pytest.approx(1e4 * size, rel=0.02)  # a tenth of the reach bends it a little
    assert (Anscombe(op.shape_out) @ op).norm() == pytest.approx(100 * size, rel=0.02)
    assert weighted(op, torch.full(op.shape_out, 3.0)).norm() == pytest.approx(3e4 * size, rel=0.02)
    assert stack(op, Transmission(projector, 2e4)).norm() == pytest.approx(5**0.5 * 1e4 * size, rel=0.02)
    water = op.affine(0.02 * one, 0.0 * one)  # A(s x) / s has the gain of A at 0 too
    assert water.reach() == pytest.approx(50 / size)
    assert water.norm() == pytest.approx(1e4 * size, rel=0.02)
    with pytest.raises(ValueError, match="not finite near zero"):  # negative control: 0.1 mm^-1 is no small image
        Nearsighted(projector, 1e4).norm()


def test_operators_that_are_not_finite_near_zero_are_named() -> None:
    with pytest.raises(ValueError, match="Power is not finite near zero"):
        local_norm(Power(torch.tensor([0.5])))


def test_it_is_computed_once() -> None:
    calls: list[int] = []

    class Counting(Power):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return super().forward(x)

    op = Counting(torch.tensor([2.0])).affine(torch.ones(5), torch.ones(5))
    first = op.norm()
    count = len(calls)
    assert op.norm() == first
    assert len(calls) == count
    assert max(calls) == 1  # one item, all being alike
