"""Fourier amplitudes: known transforms, what cannot be told apart, zero amplitudes, masks."""

import math

import pytest
import torch

from invdiff.operators import PhaseRetrieval
from invdiff.operators.fourier import centred_fft2
from tests.operators.cases import points, random

SIZES = [(6, 4), (5, 7), (6, 5)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("oversampling", [1.0, 1.5, 2.0, 2.3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_amplitudes_are_those_of_the_centred_transform(
    size: tuple[int, int], oversampling: float, dtype: torch.dtype
) -> None:
    op = PhaseRetrieval((2, *size), oversampling)
    assert op.shape_out == (2, *(round(oversampling * n) for n in size))
    x = random(3, 2, *size, dtype=dtype)
    torch.testing.assert_close(op(x), centred_fft2(op.pad(x)).abs(), rtol=1e-12, atol=1e-12)
    assert torch.equal(op.crop(op.pad(x)), x)


@pytest.mark.parametrize("size", SIZES)
def test_known_transforms(size: tuple[int, int]) -> None:
    op = PhaseRetrieval((1, *size))
    n = math.prod(op.shape_out)
    point, flat = torch.zeros(1, 1, *size), torch.ones(1, 1, *size)
    point[..., 1, 2] = 3
    torch.testing.assert_close(op(point), torch.full((1, *op.shape_out), 3 / math.sqrt(n)))
    y = op(flat)
    assert int(y.flatten().argmax()) == (op.shape_out[1] // 2) * op.shape_out[2] + op.shape_out[2] // 2
    assert float(y.max()) == pytest.approx(math.prod(size) / math.sqrt(n), rel=1e-6)
    x = random(2, 1, *size)
    torch.testing.assert_close(op(x).norm(), x.norm())  # Parseval


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("oversampling", [1.0, 2.0])
def test_what_cannot_be_told_apart(dtype: torch.dtype, oversampling: float) -> None:
    op, x = PhaseRetrieval((1, 6, 5), oversampling), random(1, 1, 6, 5, dtype=dtype)
    alike = {"sign": -x, "turned": x.flip(-2, -1).conj()}
    if dtype.is_complex:
        alike["phase"] = x * complex(math.cos(1), math.sin(1))
    if oversampling == 1:
        alike["shift"] = x.roll((2, 1), (-2, -1))
    for other in alike.values():
        torch.testing.assert_close(op(other), op(x), rtol=1e-12, atol=1e-12)
    mirrored = x.flip(-1)  # no symmetry of the amplitudes
    assert (op(mirrored) - op(x)).norm() > 0.1 * op(x).norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_the_gradient_is_zero_at_zero_amplitude(dtype: torch.dtype) -> None:
    op, x = PhaseRetrieval((1, 6, 5)), torch.zeros(1, 1, 6, 5, dtype=dtype)
    assert torch.equal(op.vjp(x, torch.ones_like(op(x))), x)
    constant = torch.ones_like(x)  # all amplitudes but one are zero, or rounding
    pulled = PhaseRetrieval((1, 6, 5), 1).vjp(constant, torch.ones(1, 1, 6, 5))
    assert bool(torch.isfinite(pulled.abs()).all())


def test_only_measured_frequencies_are_returned_and_counted() -> None:
    mask = points(12, 10)
    op, x = PhaseRetrieval((2, 6, 5), mask=mask), random(3, 2, 6, 5)
    y = op.simulate(x, 0.1, seed=0)
    assert bool((y[..., ~mask] == 0).all())
    torch.testing.assert_close(op(x)[..., mask], PhaseRetrieval((2, 6, 5))(x)[..., mask])
    assert int(op.measured(False)) == 2 * int(mask.sum())


def test_noise_is_gaussian_on_the_amplitude() -> None:
    op = PhaseRetrieval((1, 64, 64), 1)
    noise = op.simulate(torch.zeros(1, 1, 64, 64), 0.5, seed=1)
    assert float(noise.std()) == pytest.approx(0.5, rel=5 / math.sqrt(2 * 4096))  # five standard errors
    assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.5 / 64)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="oversampling must be at least 1"):
        PhaseRetrieval((1, 6, 5), 0.5)
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        PhaseRetrieval((6, 5))
    with pytest.raises(ValueError, match="mask must be"):
        PhaseRetrieval((1, 6, 5), mask=torch.ones(6, 5))
