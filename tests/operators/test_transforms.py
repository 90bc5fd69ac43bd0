"""Gradient and wavelets: the operators' contract, and what makes them the transforms they are called."""

import numpy as np
import pytest
import torch

from invdiff.operators.gradient import Gradient
from invdiff.operators.undecimated import UndecimatedWavelet
from invdiff.operators.wavelet import Wavelet, daubechies, default_levels, mirror
from invdiff.testing import check_operator

Kind = type[Gradient] | type[Wavelet] | type[UndecimatedWavelet]
SHAPES = [(1, 8, 8), (2, 5, 7), (1, 1, 9), (1, 16, 6)]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", [Gradient, Wavelet, UndecimatedWavelet])
@pytest.mark.parametrize("shape", SHAPES)
def test_contract(kind: Kind, shape: tuple[int, int, int]) -> None:
    check_operator(kind(shape))


@pytest.mark.parametrize("kind", [Gradient, Wavelet, UndecimatedWavelet])
@pytest.mark.parametrize("shape", SHAPES)
def test_norm_is_that_of_the_matrix(kind: Kind, shape: tuple[int, int, int]) -> None:
    op = kind(shape)
    n = int(np.prod(shape))
    matrix = op(torch.eye(n, dtype=torch.float64).reshape(n, *shape)).reshape(n, -1)
    assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(op.norm(), rel=1e-10)
    assert op.norm() < 8**0.5


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (2, 1, 3, 2)])
def test_gradient_in_three_dimensions(shape: tuple[int, ...]) -> None:
    op, n = Gradient(shape), int(np.prod(shape))
    check_operator(op)
    matrix = op(torch.eye(n, dtype=torch.float64).reshape(n, *shape)).reshape(n, -1)
    assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(op.norm(), rel=1e-10)
    x = draw(1, *shape)
    assert torch.equal(op(x)[:, :, 1, :, :-1], x[:, :, :, 1:] - x[:, :, :, :-1])


def test_gradient_of_a_ramp_is_its_slope_and_nothing_crosses_the_border() -> None:
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    g = Gradient((1, 5, 7))((2 * rows + 3 * columns)[None, None])
    assert bool((g[0, 0, 0, :-1] == 2).all() and (g[0, 0, 1, :, :-1] == 3).all())
    assert not g[0, 0, 0, -1].any()
    assert not g[0, 0, 1, :, -1].any()


@pytest.mark.parametrize("moments", range(1, 11))
def test_daubechies_filters(moments: int) -> None:
    """Orthonormal to their even shifts, and the high pass annihilates polynomials below degree n."""
    h, g = np.array(daubechies(moments)), np.array(mirror(daubechies(moments)))
    for shift in range(moments):
        for a, b, wanted in ((h, h, float(shift == 0)), (g, g, float(shift == 0)), (h, g, 0.0)):
            assert np.dot(a[2 * shift :], b[: len(b) - 2 * shift]) == pytest.approx(wanted, abs=1e-10)
    k = np.linspace(-1, 1, 2 * moments)
    for degree in range(moments):
        assert np.dot(g, k**degree) == pytest.approx(0, abs=1e-7)  # roots of degree 9 are known to about 1e-9
    assert abs(np.dot(g, k**moments)) > 1e-6


def test_daubechies_four_has_its_closed_form() -> None:
    root = 3**0.5
    closed = np.array([1 + root, 3 + root, 3 - root, 1 - root]) / (4 * 2**0.5)
    np.testing.assert_allclose(daubechies(2), closed, rtol=1e-12)


def test_haar_of_one_block() -> None:
    """Of [[a, b], [c, d]]: sum, differences along columns and rows, and the mixed one, all halved."""
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])[None, None]
    wanted = torch.tensor([[11.0, -3.0], [-5.0, 1.0]]) / 2
    torch.testing.assert_close(Wavelet((1, 2, 2), moments=1, levels=1)(x)[0, 0].abs(), wanted.abs())


@pytest.mark.parametrize("moments", [1, 4])
@pytest.mark.parametrize("shape", [(1, 32, 16), (1, 16, 48)])
def test_orthogonal_where_nothing_is_rounded_up(moments: int, shape: tuple[int, int, int]) -> None:
    op = Wavelet(shape, moments, levels=3)
    c = draw(2, *shape)
    torch.testing.assert_close(op(op.adjoint(c)), c, rtol=1e-10, atol=1e-10)


def test_undecimated_bands_hold_the_orthogonal_coefficients_of_every_shift() -> None:
    shape, levels = (1, 16, 8), 2
    x = draw(1, *shape)
    bands = UndecimatedWavelet(shape, 2, levels)(x)[0, 0]
    for down, right in ((0, 0), (1, 0), (3, 2)):
        c = Wavelet(shape, 2, levels)(x.roll((-down, -right), (-2, -1)))[0, 0]
        low = bands[-1].roll((-down, -right), (-2, -1))[::4, ::4]
        fine = bands[2].roll((-down, -right), (-2, -1))[::2, ::2]
        torch.testing.assert_close(4 * low, c[:4, :2])
        torch.testing.assert_close(2 * fine, c[8:, 4:])


@pytest.mark.parametrize(("size", "levels"), [(1, 1), (9, 1), (64, 3), (128, 4), (640, 4)])
def test_default_levels(size: int, levels: int) -> None:
    assert default_levels((1, size, 1000)) == levels


@pytest.mark.parametrize("kind", [Wavelet, UndecimatedWavelet])
def test_refusals(kind: type[Wavelet] | type[UndecimatedWavelet]) -> None:
    with pytest.raises(ValueError, match="moments must be between 1 and 10, got 11"):
        kind((1, 8, 8), 11)
    with pytest.raises(ValueError, match="levels must be at least 1, got 0"):
        kind((1, 8, 8), levels=0)
    with pytest.raises(ValueError, match=r"image shape \(C, H, W\), got \(8, 8\)"):
        kind((8, 8))
    with pytest.raises(ValueError, match=r"\(C, H, W\) or \(C, D, H, W\), got \(8, 8\)"):
        Gradient((8, 8))
