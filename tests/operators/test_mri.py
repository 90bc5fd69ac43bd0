"""Cartesian MRI against its definition, its physics, and what it must refuse."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from invdiff.linalg import cg
from invdiff.operators import CartesianMRI, LinearOperator, mri
from invdiff.operators.fourier import centred_fft2, centred_ifft2
from invdiff.shapes import over
from invdiff.testing import check_operator
from tests.operators.cases import coil_maps, lines, points, random

SIZES = [(9, 9), (8, 8), (9, 8), (6, 7)]


def image(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.complex64)


def fully(height: int, width: int) -> CartesianMRI:
    return CartesianMRI(torch.ones(height, width))


def one_pixel(height: int, width: int, row: int, column: int) -> Tensor:
    """k-space of a delta at (row, column), from the definition."""
    k, m = (torch.arange(n, dtype=torch.float64) - n // 2 for n in (height, width))
    turns = k[:, None] * (row - height // 2) / height + m * (column - width // 2) / width
    return torch.polar(torch.full_like(turns, 1 / math.sqrt(height * width)), -2 * math.pi * turns)


class SwappedShifts(LinearOperator):
    """The centred transform with fftshift and ifftshift exchanged: unitary, and wrong on odd sizes."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__((1, height, width), (1, height, width), complex_in=True)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fft.fftshift(x, dim=(-2, -1))
        return torch.fft.ifftshift(torch.fft.fft2(x, norm="ortho"), dim=(-2, -1))

    def _adjoint(self, y: Tensor) -> Tensor:
        y = torch.fft.fftshift(y, dim=(-2, -1))
        return torch.fft.ifftshift(torch.fft.ifft2(y, norm="ortho"), dim=(-2, -1))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_constant_lands_on_the_centre(height: int, width: int) -> None:
    y = fully(height, width)(torch.ones(1, 1, height, width, dtype=torch.complex64))
    wanted = torch.zeros_like(y)
    wanted[..., height // 2, width // 2] = math.sqrt(height * width)
    torch.testing.assert_close(y, wanted, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_one_pixel_off_centre(height: int, width: int) -> None:
    x = torch.zeros(1, 1, height, width, dtype=torch.complex64)
    x[..., 2, 5] = 1
    wanted = one_pixel(height, width, 2, 5)
    torch.testing.assert_close(fully(height, width)(x)[0, 0].to(torch.complex128), wanted, rtol=1e-5, atol=1e-6)


def test_gaussian_pair() -> None:
    """exp(-pi r^2 / s^2) has the transform s^2 exp(-pi s^2 f^2) per pixel area; both vanish at the borders here."""
    height, width, s = 33, 32, 5.5
    r, c = (torch.arange(n, dtype=torch.float64) - n // 2 for n in (height, width))
    x = torch.exp(-math.pi * (r[:, None] ** 2 + c**2) / s**2).to(torch.complex64)
    wanted = s**2 * torch.exp(-math.pi * s**2 * ((r[:, None] / height) ** 2 + (c / width) ** 2))
    y = fully(height, width)(x[None, None])[0, 0]
    torch.testing.assert_close(y.real.double(), wanted / math.sqrt(height * width), rtol=0, atol=1e-6)
    assert y.imag.abs().max() < 1e-6


def test_swapped_shifts_pass_the_contract_and_fail_the_anchor() -> None:
    """Why anchors exist: the dot test does not see a wrong transform."""
    wrong = SwappedShifts(9, 9)
    check_operator(wrong)
    x = torch.zeros(1, 1, 9, 9, dtype=torch.complex64)
    x[..., 2, 5] = 1
    wanted = one_pixel(9, 9, 2, 5).to(torch.complex64)
    assert (wrong(x)[0, 0] - wanted).abs().max() > 0.5 * wanted.abs().max()
    assert (SwappedShifts(8, 8)(x[..., 1:, 1:])[0, 0] - centred_fft2(x[..., 1:, 1:])[0, 0]).abs().max() < 1e-6


@given(st.integers(1, 12), st.integers(2, 13), st.integers(1, 3), st.booleans(), st.integers(0, 5))
def test_folded_form_equals_the_centred_one(height: int, width: int, coils: int, one_axis: bool, seed: int) -> None:
    mask = points(height, width, seed=seed) if not one_axis else lines(width, seed=seed)
    maps = image(coils, height, width, seed=seed)
    op, x = CartesianMRI(mask, maps), image(2, 1, height, width, seed=seed + 1)
    centred = torch.where(mask, centred_fft2(maps * x), 0)
    back = (maps.conj() * centred_ifft2(centred)).sum(1, keepdim=True)
    for ours, reference in ((op(x), centred), (op.adjoint(centred), back), (op.normal(x), back)):
        assert (ours - reference).norm() <= 1e-6 * (reference.norm() + 1e-3)


@given(st.integers(2, 11), st.integers(2, 11), st.integers(1, 3), st.booleans())
def test_contract_at_drawn_sizes(height: int, width: int, coils: int, one_axis: bool) -> None:
    mask = lines(width) if one_axis else points(height, width)
    check_operator(CartesianMRI(mask, coil_maps(coils, height, width)), dense=False)


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_one_axis_normal_equals_the_general_one(height: int, width: int, rows: bool) -> None:
    mask = lines(height)[:, None].expand(height, width) if rows else lines(width)
    op = CartesianMRI(mask, coil_maps(3, height, width))
    assert op.axes == ((-2,) if rows else (-1,))
    x = image(2, 1, height, width)
    fast = op.normal(x)
    op.axes, op.reduced_mask = (-2, -1), op.sampled.to(torch.complex64)
    general = op.normal(x)
    assert (fast - general).norm() < 1e-6 * general.norm()


def test_coil_loop_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    op, x = CartesianMRI(points(2, 9, 8), coil_maps(3, 9, 8, batch=2)), image(2, 1, 9, 8)
    y = op(x)
    results = [(y, op.adjoint(y), op.normal(x))]
    for limit in (0, 3 * 9 * 8 * 8):  # coil by coil, item by item
        monkeypatch.setattr(mri, "LOOP_BYTES", limit)
        results.append((op(x), op.adjoint(y), op.normal(x)))
        check_operator(op)
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_mask_layouts_agree() -> None:
    flags = lines(7)
    x = image(2, 1, 5, 7)
    wanted = CartesianMRI(flags, shape=(5, 7))(x)
    full = flags.expand(5, 7)
    batched = full.expand(2, 5, 7)
    for mask in (full, full[None], full[None, None], full.float(), full.int(), full.numpy(), batched, batched[:, None]):
        torch.testing.assert_close(CartesianMRI(mask)(x), wanted, rtol=1e-6, atol=1e-6)  # rounds by batch layout
    assert torch.equal(CartesianMRI(flags.tolist(), shape=(1, 5, 7))(x), wanted)
    assert CartesianMRI(batched).batch == 2


def test_unsampled_entries_are_positive_zero() -> None:
    """A sign bit would carry data through the mask."""
    op = CartesianMRI(points(9, 7), coil_maps(2, 9, 7))
    y = op.simulate(image(2, 1, 9, 7), sigma_y=0.1)
    hidden = torch.view_as_real(y)[~op.sampled.expand_as(y)]
    assert not hidden.any()
    assert not torch.signbit(hidden).any()
    assert op.measured(True) == 2 * 2 * int(op.sampled.sum())


def test_closed_forms_of_one_coil() -> None:
    op = CartesianMRI(lines(8), shape=(9, 8))
    z, y, rho = image(2, 1, 9, 8), image(2, 1, 9, 8, seed=1), torch.tensor([0.3, 2.0])

    def normal(v: Tensor) -> Tensor:
        return op.H(op(v)) + over(rho, v) * v

    iterated = cg(normal, op.adjoint(y) + over(rho, z) * z, iterations=50)
    torch.testing.assert_close(op.prox(z, y, rho), iterated, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(op(op.pinv(y)), torch.where(op.sampled, y, 0), rtol=1e-5, atol=1e-6)
    assert op.norm() == 1.0


def test_unseen_pixels_end_at_zero() -> None:
    op = CartesianMRI(torch.ones(8), coil_maps(3, 9, 8))
    x = image(1, 1, 9, 8)
    x[..., 0, 0] = 0
    y = op(x)
    for out in (op.adjoint(y), op.pinv(y), op.reference_image(y)):
        assert torch.isfinite(out).all()
        assert out[0, 0, 0, 0] == 0
    torch.testing.assert_close(op.pinv(y), x, rtol=1e-3, atol=1e-4)


MAPS = coil_maps(3, 6, 8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"mask": torch.ones(8)}, ValueError, r"needs shape=\(H, W\)"),
        ({"mask": torch.ones(7), "maps": MAPS}, ValueError, r"must be \(8,\), \(6, 8\).*got \(7,\)"),
        ({"mask": torch.ones(6), "maps": MAPS}, ValueError, r"mask\[:, None\]\.expand"),
        ({"mask": torch.ones(8, 6), "maps": MAPS}, ValueError, r"got \(8, 6\)"),
        ({"mask": torch.full((8,), 0.5), "maps": MAPS}, ValueError, "8 other values, the first 0.5"),
        ({"mask": torch.full((8,), math.nan), "maps": MAPS}, ValueError, "other values"),
        ({"mask": torch.ones(8, dtype=torch.complex64), "maps": MAPS}, TypeError, "bool or 0/1"),
        ({"mask": torch.zeros(8), "maps": MAPS}, ValueError, "zero everywhere"),
        ({"mask": torch.stack([torch.ones(6, 8), torch.zeros(6, 8)])}, ValueError, "mask of item 1 is zero"),
        ({"mask": torch.ones(8), "maps": MAPS.real}, TypeError, "must be complex, got torch.float32"),
        ({"mask": torch.ones(8), "maps": 0 * MAPS}, ValueError, "maps of item 0 are zero everywhere"),
        ({"mask": torch.ones(8), "maps": MAPS * math.nan}, ValueError, "144 values that are not finite"),
        ({"mask": torch.ones(8), "maps": MAPS[0, 0]}, ValueError, r"\(coil, H, W\) or \(B, coil, H, W\), got \(6, 8\)"),
        (
            {"mask": torch.ones(8), "maps": MAPS, "shape": (8, 6)},
            ValueError,
            r"maps are \(6, 8\) and shape says \(8, 6\)",
        ),
        ({"mask": torch.ones(8), "shape": (3, 6, 8)}, ValueError, r"shape must be \(H, W\)"),
        ({"mask": torch.ones(2, 6, 8), "maps": MAPS.expand(3, -1, -1, -1)}, ValueError, "2 items and the maps for 3"),
    ],
)
def test_refused_at_construction(arguments: dict[str, Tensor], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CartesianMRI(**arguments)


def test_refused_at_call() -> None:
    op = CartesianMRI(torch.ones(8), MAPS)
    with pytest.raises(ValueError, match=r"adjoint of CartesianMRI takes \(B, 3, 6, 8\), got \(1, 4, 6, 8\)"):
        op.adjoint(image(1, 4, 6, 8))
    with pytest.raises(TypeError, match="takes a complex x, got torch"):
        op(torch.ones(1, 1, 6, 8))
    with pytest.raises(ValueError, match="holds tensors for 2 items, got a batch of 3"):
        CartesianMRI(torch.ones(2, 6, 8)).normal(image(3, 1, 6, 8))


def test_maps_may_be_three_dimensional_arrays() -> None:
    x = image(1, 1, 6, 8)
    assert torch.equal(CartesianMRI(torch.ones(8), MAPS[0].numpy())(x), CartesianMRI(torch.ones(8), MAPS)(x))
