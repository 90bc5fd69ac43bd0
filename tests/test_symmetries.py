"""Images with equal Fourier amplitudes count as equal; others do not."""

import math

import pytest
import torch
from torch import Tensor

from invdiff.metrics import psnr
from invdiff.operators import PhaseRetrieval
from invdiff.symmetries import align_with_truth, psnr_up_to_symmetries
from tests.operators.cases import random

SHAPE = (2, 6, 5)


def disguised(x: Tensor, shift: bool) -> Tensor:
    """Channel 0 turned and with another sign (phase), channel 1 with another one; both shifted differently."""
    factors = (-1j, complex(math.cos(2), math.sin(2))) if x.is_complex() else (-1, 1)
    first, second = factors[0] * x[:, :1].flip(-2, -1).conj(), factors[1] * x[:, 1:]
    if shift:
        first, second = first.roll((1, 3), (-2, -1)), second.roll((4, 2), (-2, -1))
    return torch.cat((first, second), 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("oversampling", [1.0, 2.0])
def test_disguises_are_seen_through(dtype: torch.dtype, oversampling: float) -> None:
    op, truth = PhaseRetrieval(SHAPE, oversampling), random(3, *SHAPE, dtype=dtype)
    x = disguised(truth, shift=oversampling == 1)
    torch.testing.assert_close(op(x), op(truth), rtol=1e-10, atol=1e-10)
    assert (x - truth).norm() > 0.5 * truth.norm()
    torch.testing.assert_close(align_with_truth(x, truth, op), truth, rtol=1e-10, atol=1e-10)
    assert min(psnr_up_to_symmetries(truth, x, op)) > 200


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shifts", [False, True])
def test_alignment_never_leaves_the_equal_amplitudes(dtype: torch.dtype, shifts: bool) -> None:
    op = PhaseRetrieval(SHAPE, 1)
    truth, other = random(3, *SHAPE, dtype=dtype), random(3, *SHAPE, dtype=dtype, seed=1)
    aligned = align_with_truth(other, truth, op, shifts)
    torch.testing.assert_close(op(aligned), op(other), rtol=1e-10, atol=1e-10)
    assert bool(((aligned - truth).flatten(1).norm(dim=1) <= (other - truth).flatten(1).norm(dim=1)).all())
    assert max(psnr_up_to_symmetries(truth, other, op, shifts=shifts)) < 20  # another image stays another image


def test_shifts_are_undone_behind_padding_only_when_asked_for() -> None:
    op, truth = PhaseRetrieval((1, 8, 8)), torch.zeros(1, 1, 8, 8)
    truth[..., 2:5, 2:4] = random(3, 2)
    moved = truth.roll((2, 1), (-2, -1))
    assert (align_with_truth(moved, truth, op) - truth).norm() > 0.5 * truth.norm()
    torch.testing.assert_close(align_with_truth(moved, truth, op, shifts=True), truth)


def test_without_disguise_it_is_psnr() -> None:
    op, truth = PhaseRetrieval(SHAPE), random(2, *SHAPE)
    x = truth + 0.1 * random(2, *SHAPE, seed=1)
    scale = (x * truth).sum((-2, -1)).sign()
    assert bool((scale == 1).all())
    assert psnr_up_to_symmetries(truth, x, op, 2.0) == pytest.approx(
        [psnr(t, v, 2.0) for t, v in zip(truth, x, strict=True)]
    )
    zero = torch.zeros_like(truth)
    assert torch.equal(align_with_truth(zero, truth, op), zero)


def test_unlike_images_are_refused() -> None:
    op, x = PhaseRetrieval(SHAPE), random(2, *SHAPE)
    with pytest.raises(TypeError, match="both real or both complex"):
        align_with_truth(x, x + 0j, op)
    with pytest.raises(TypeError, match="of one batch"):
        align_with_truth(x, x[:1], op)
    with pytest.raises(ValueError, match="truth takes"):
        align_with_truth(x, x[..., :-1], op)
