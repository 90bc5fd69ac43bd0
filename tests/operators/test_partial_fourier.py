"""Half of k-space and a phase give the image that the other half would."""

import pytest
import torch

import invdiff
from invdiff.data.phantom import head_phantom, smooth_phase
from invdiff.operators import CartesianMRI, PhaseConstraint
from invdiff.operators.partial_fourier import partial_fourier_mask
from tests.operators.cases import random


@pytest.mark.parametrize(("lines", "fraction", "count"), [(32, 0.75, 24), (33, 0.625, 21), (32, 1.0, 32), (9, 0.51, 5)])
def test_mask_keeps_one_side_and_the_centre(lines: int, fraction: float, count: int) -> None:
    mask = partial_fourier_mask(lines, fraction)
    assert int(mask.sum()) == count
    assert bool(mask[lines // 2 :].all())


def test_missing_lines_follow_from_the_phase() -> None:
    shape = (48, 48)
    phase = smooth_phase(shape, strength=0.5)
    x = (head_phantom(shape) * torch.polar(torch.ones(shape), phase))[None, None]
    op = CartesianMRI(partial_fourier_mask(48, 0.625), shape=shape)
    y = op.simulate(x, 1e-3)
    constrained = op @ PhaseConstraint(op.reference_image(y))
    assert constrained.real_linear
    with_phase = invdiff.solve(y, constrained, method="cg", sigma_y=1e-3).x
    without = invdiff.solve(y, op, method="cg", sigma_y=1e-3).x
    errors = [float((image.abs() - x.abs()).norm() / x.norm()) for image in (with_phase, without)]
    assert errors[0] < 0.6 * errors[1]
    exact = invdiff.solve(y, op @ PhaseConstraint(x), method="cg", sigma_y=1e-3).x
    assert float((exact.abs() - x.abs()).norm() / x.norm()) < 0.02  # the phase is all that was missing


def test_a_zero_pixel_has_phase_zero() -> None:
    image = random(1, 1, 3, 4, dtype=torch.complex64)
    image[..., 0, 0] = 0
    op = PhaseConstraint(image)
    assert op(torch.ones(1, 1, 3, 4))[0, 0, 0, 0] == 1
    torch.testing.assert_close(op(image.abs())[..., 1:], image[..., 1:])


def test_refusals() -> None:
    with pytest.raises(TypeError, match="takes a complex image"):
        PhaseConstraint(torch.ones(1, 1, 3, 3))
    with pytest.raises(ValueError, match="1 values that are not finite"):
        PhaseConstraint(torch.tensor([[1j, torch.nan]]))
    for fraction in (0.5, 1.2):
        with pytest.raises(ValueError, match=r"fraction must be above 0.5 and at most 1"):
            partial_fourier_mask(32, fraction)
