"""Magnitudes, alone and behind a scanner."""

import pytest
import torch

from invdiff.operators import CartesianMRI, LinearOperator, Magnitude, weighted
from tests.operators.cases import coil_maps, lines, points, random


def test_moduli_and_their_gradient() -> None:
    op = Magnitude((2,))
    z = torch.tensor([[3 + 4j, 0]])
    assert op(z).tolist() == [[5.0, 0.0]]
    pulled = op.vjp(z, torch.tensor([[2.0, 2.0]]))
    torch.testing.assert_close(pulled, torch.tensor([[1.2 + 1.6j, 0]]))  # 2 z / |z|, and 0 at 0


def test_magnitudes_of_a_scan_count_what_the_scan_samples() -> None:
    scan = CartesianMRI(lines(8), coil_maps(3, 9, 8))
    op = Magnitude(scan.shape_out) @ scan
    assert not isinstance(op, LinearOperator)
    assert (op.complex_in, op.complex_out) == (True, False)
    assert op.support is scan.support
    x = random(2, 1, 9, 8, dtype=torch.complex64)
    torch.testing.assert_close(op(x), scan(x).abs())
    assert 2 * int(op.measured(False)) == int(scan.measured(True))  # a modulus instead of two components
    y = op.simulate(x, 0.3, seed=0)
    assert bool((y.masked_select(~scan.sampled.expand_as(y)) == 0).all())


def test_masks_of_both_factors_hold() -> None:
    first, second = points(5, 7, seed=1), random(5, 7, seed=2).clamp(min=0)
    op = weighted(Magnitude((1, 5, 7)) @ CartesianMRI(first), second)
    assert op.sampled is not None
    assert torch.equal(op.sampled[0, 0], first & (second > 0))


def test_real_input_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a complex x"):
        Magnitude((1, 3, 3))(torch.ones(1, 1, 3, 3))
