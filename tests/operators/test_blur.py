"""Blur against direct convolution, its kernels, and what it must refuse."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import convolve
from torch import Tensor
from torch.nn.functional import conv2d

from invdiff.operators import Blur, GaussianBlur, MotionBlur
from invdiff.operators.psf import gaussian_kernel, motion_kernel
from invdiff.shapes import over
from invdiff.testing import check_operator
from tests.operators.cases import KERNEL, random


@pytest.mark.parametrize("padding", ["circular", "reflect"])
@pytest.mark.parametrize("size", [(3, 4), (5, 5), (2, 3)])
def test_delta_becomes_the_kernel(padding: str, size: tuple[int, int]) -> None:
    """In its own orientation, its entry (h // 2, w // 2) at the delta."""
    kernel = random(*size)
    x = torch.zeros(1, 1, 11, 12)
    x[..., 6, 5] = 1
    y = Blur(kernel, (1, 11, 12), padding)(x)
    wanted = torch.zeros(11, 12)
    top, left = 6 - size[0] // 2, 5 - size[1] // 2
    wanted[top : top + size[0], left : left + size[1]] = kernel
    torch.testing.assert_close(y[0, 0], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(3, 5), (7, 3)])
@pytest.mark.parametrize(("padding", "mode"), [("circular", "wrap"), ("reflect", "mirror")])
def test_against_scipy(padding: str, mode: str, size: tuple[int, int]) -> None:
    kernel, x = random(*size), random(1, 1, 9, 8, seed=1)
    wanted = convolve(x[0, 0].numpy(), kernel.numpy(), mode=mode)
    torch.testing.assert_close(
        Blur(kernel, (1, 9, 8), padding)(x)[0, 0], torch.from_numpy(wanted), rtol=1e-5, atol=1e-5
    )


@given(st.integers(1, 6), st.integers(1, 6), st.integers(6, 11), st.integers(6, 11))
def test_valid_is_direct_convolution(h: int, w: int, height: int, width: int) -> None:
    kernel, x = random(h, w), random(2, 1, height, width, seed=1)
    wanted = conv2d(x, kernel.flip(0, 1)[None, None])
    torch.testing.assert_close(Blur(kernel, (1, height, width), "valid")(x), wanted, rtol=1e-4, atol=1e-5)


@given(
    st.sampled_from(["circular", "reflect", "valid"]),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(7, 10), st.integers(7, 10)),
)
def test_contract_at_drawn_sizes(padding: str, kernel: tuple[int, int], size: tuple[int, int]) -> None:
    check_operator(Blur(random(*kernel), (1, *size), padding), dense=False)


def test_complex_images_are_blurred_by_parts() -> None:
    op, x = Blur(KERNEL, (1, 7, 6), "reflect"), random(1, 1, 7, 6, dtype=torch.complex64)
    assert torch.equal(op(x), torch.complex(op(x.real), op(x.imag)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_closed_prox_equals_conjugate_gradients(dtype: torch.dtype) -> None:
    op = Blur(KERNEL, (1, 7, 6))
    z, y, rho = random(2, 1, 7, 6, dtype=dtype), random(2, 1, 7, 6, seed=1, dtype=dtype), torch.tensor([0.1, 3.0])
    residual = op.normal(op.prox(z, y, rho)) + over(rho, z) * op.prox(z, y, rho) - op.adjoint(y) - over(rho, z) * z
    assert residual.norm() < 1e-5 * op.adjoint(y).norm()
    assert op.norm() == pytest.approx(super(Blur, op).norm(), rel=0.02)  # power iteration approaches from below


def test_pinv_inverts_what_can_be_inverted() -> None:
    op = GaussianBlur(1.0, (1, 16, 15), size=9)
    x = random(1, 1, 16, 15)
    torch.testing.assert_close(op(op.pinv(op(x))), op(x), rtol=1e-3, atol=1e-4)
    box = Blur(torch.ones(1, 4) / 4, (1, 3, 8))  # gains exactly zero at every second frequency
    y = box(random(1, 1, 3, 8))
    least = box.pinv(y)
    torch.testing.assert_close(box(least), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(box.pinv(box(least)), least, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 61])
def test_kernels_are_non_negative_and_sum_to_one(size: int) -> None:
    for kernel in (gaussian_kernel(2.0, size), motion_kernel(size, 0.5, 3), motion_kernel(size, 0.0, 1)):
        assert kernel.shape == (size, size)
        assert bool((kernel >= 0).all())
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-12)


def test_gaussian_kernel_has_its_width() -> None:
    kernel, r = gaussian_kernel(3.0, 41), torch.arange(41) - 20.0
    assert float((kernel.sum(0) * r**2).sum()) == pytest.approx(9, rel=1e-3)
    assert torch.equal(kernel, kernel.T)


def test_motion_kernel_follows_its_seed_and_intensity() -> None:
    first = motion_kernel(31, 0.5, 0)
    assert torch.equal(first, motion_kernel(31, 0.5, 0))
    assert not torch.allclose(first, motion_kernel(31, 0.5, 1))
    # The centre of mass stays, so the image is not displaced.
    r = torch.arange(31, dtype=torch.float64) - 15
    assert abs(float((first.sum(0) * r).sum())) < 1e-9
    assert abs(float((first.sum(1) * r).sum())) < 1e-9
    # A straight motion has no extent across its own direction; a shaken one has.
    assert _thickness(motion_kernel(31, 0.0, 4)) < 0.5
    assert _thickness(motion_kernel(31, 1.0, 4)) > 1.0


def _thickness(kernel: Tensor) -> float:
    """Smaller principal standard deviation in pixels."""
    n = kernel.shape[0]
    r = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")).double().flatten(1) - n // 2
    covariance = (kernel.flatten() * r) @ r.T
    return math.sqrt(float(torch.linalg.eigvalsh(covariance)[0]))


def test_motion_blur_is_its_kernel() -> None:
    x = random(1, 1, 9, 8)
    wanted = Blur(motion_kernel(5, 0.7, 2), (1, 9, 8), "reflect")(x)
    assert torch.equal(MotionBlur((1, 9, 8), size=5, intensity=0.7, seed=2, padding="reflect")(x), wanted)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Blur(torch.ones(3), (1, 5, 5)), ValueError, r"must be \(h, w\), got \(3,\)"),
        (lambda: Blur(torch.zeros(3, 3), (1, 5, 5)), ValueError, "not zero everywhere"),
        (lambda: Blur(torch.full((3, 3), math.inf), (1, 5, 5)), ValueError, "finite"),
        (lambda: Blur(torch.ones(3, 3) * 1j, (1, 5, 5)), TypeError, "must be real"),
        (lambda: Blur(torch.ones(3, 3), (5, 5)), ValueError, r"shape must be \(C, H, W\)"),
        (
            lambda: Blur(torch.ones(3, 3), (1, 5, 5), "zeros"),
            ValueError,
            "'circular', 'reflect' or 'valid', got 'zeros'",
        ),
        (lambda: Blur(torch.ones(6, 3), (1, 5, 5), "valid"), ValueError, r"kernels up to \(5, 5\), got \(6, 3\)"),
        (lambda: Blur(torch.ones(3, 10), (1, 5, 5), "reflect"), ValueError, r"up to \(9, 9\)"),
        (lambda: GaussianBlur(0.0, (1, 5, 5)), ValueError, "sigma must be positive"),
        (lambda: GaussianBlur(1.0, (1, 5, 5), size=0), ValueError, "size"),
        (lambda: MotionBlur((1, 5, 5), intensity=1.5), ValueError, r"in \[0, 1\], got 1.5"),
    ],
)
def test_refused(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]


def test_message_names_the_operator_asked_for() -> None:
    with pytest.raises(ValueError, match="GaussianBlur: with padding 'valid'"):
        GaussianBlur(1.0, (1, 5, 5), padding="valid")
