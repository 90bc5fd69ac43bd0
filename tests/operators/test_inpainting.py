"""Inpainting: what is kept, what is zero, what is refused; and the two operators that change nothing."""

import math

import pytest
import torch

from invdiff.operators import Identity, Inpainting, RealToComplex
from tests.operators.cases import points, random


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_sampled_pixels_are_kept_and_others_positive_zero(dtype: torch.dtype) -> None:
    mask, x = points(5, 7), -random(2, 3, 5, 7, dtype=dtype).abs().to(dtype)
    op = Inpainting(mask, shape=(3, 5, 7))
    y = op(x)
    assert torch.equal(y[..., mask], x[..., mask])
    hidden = torch.view_as_real(y)[..., ~mask, :] if dtype.is_complex else y[..., ~mask]
    assert not hidden.any()
    assert not torch.signbit(hidden).any()
    assert op.measured(dtype.is_complex) == (2 if dtype.is_complex else 1) * 3 * int(mask.sum())


def test_mask_is_per_column_row_channel_or_item() -> None:
    x = torch.ones(2, 2, 3, 4)
    assert Inpainting([1, 0, 0, 1], shape=(2, 3, 4))(x)[0, 0].tolist() == [[1, 0, 0, 1]] * 3
    per_channel = torch.stack([torch.ones(3, 4), torch.eye(3, 4)])
    assert torch.equal(Inpainting(per_channel)(x)[1], per_channel)
    per_item = per_channel[:, None]
    op = Inpainting(per_item, shape=(2, 3, 4))
    assert op.batch == 2
    assert torch.equal(op(x), per_item.expand(2, 2, 3, 4))


def test_missing_values_do_not_leak() -> None:
    x = torch.ones(1, 1, 2, 2)
    x[..., 0, 0] = math.nan
    assert torch.isfinite(Inpainting([[0, 1], [1, 1]])(x)).all()


def test_prox_keeps_what_is_not_seen() -> None:
    mask = points(5, 7)
    op, z, y = Inpainting(mask), random(1, 1, 5, 7), random(1, 1, 5, 7, seed=1)
    x = op.prox(z, y, 3.0)
    assert torch.equal(x[..., ~mask], z[..., ~mask])
    torch.testing.assert_close(x[..., mask], ((y + 3 * z) / 4)[..., mask])
    assert torch.equal(op.pinv(op(z)), op(z))


@pytest.mark.parametrize(
    ("mask", "shape", "message"),
    [
        ([1, 0], None, r"needs shape=\(C, H, W\)"),
        ([1, 0, 1], (1, 2, 2), r"got \(3,\)"),
        ([[1, 2], [0, 1]], None, "1 other values, the first 2"),
        ([[0, 0], [0, 0]], None, "zero everywhere"),
        (torch.ones(3, 2, 2), (2, 2, 2), r"got \(3, 2, 2\)"),
        ([1, 0], (2, 2), r"shape must be \(C, H, W\)"),
    ],
)
def test_refused(mask: object, shape: tuple[int, ...] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Inpainting(mask, shape=shape)


def test_identity_returns_a_new_tensor() -> None:
    x = torch.ones(1, 2, 2)
    Identity((2, 2))(x).zero_()
    assert bool(x.all())


def test_real_to_complex() -> None:
    op, x, y = RealToComplex((1, 2, 2)), random(1, 1, 2, 2), random(1, 1, 2, 2, dtype=torch.complex64)
    assert torch.equal(op(x).real, x)
    assert not op(x).imag.any()
    assert torch.equal(op.adjoint(y), y.real)
    with pytest.raises(TypeError, match="takes a real x"):
        op(y)
