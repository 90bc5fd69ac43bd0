"""Non-Cartesian MRI against Cartesian MRI, known Fourier pairs and its definition; scale, noise level, refusals."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import j1
from torch import Tensor

import invdiff
from invdiff.data.phantom import head_phantom
from invdiff.data.trajectories import cartesian, radial
from invdiff.operators import CartesianMRI, NonCartesianMRI
from invdiff.priors.gaussian import GaussianPrior
from invdiff.testing import check_operator
from tests.operators import exact
from tests.operators.cases import coil_maps, points, positions, random

SIZES = [(9, 9), (8, 8), (9, 8), (6, 7)]
BARS = {"default": 5e-4, "high": 1.5e-5}


def image(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.complex64)


def smooth_maps(coils: int, height: int, width: int) -> Tensor:
    """Sensitivities that fall off from points around the image, (coils, H, W), sum |s|^2 = 1."""
    r, c = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    angles = torch.arange(coils) * (2 * math.pi / coils)
    size = torch.stack([torch.exp(-((r - a.sin()) ** 2 + (c - a.cos()) ** 2) / 2) for a in angles])
    maps = torch.polar(size, torch.stack([a + 0.5 * r * a.cos() for a in angles]))
    return maps / maps.norm(dim=0)


@pytest.mark.parametrize("accuracy", BARS)
@pytest.mark.parametrize("shape", SIZES)
def test_grid_points_give_cartesian_mri(shape: tuple[int, int], accuracy: str) -> None:
    """Conventions of centre, sign and scale are those of CartesianMRI, on odd sizes as on even ones."""
    maps, x = coil_maps(3, *shape), image(2, 1, *shape)
    op = NonCartesianMRI(cartesian(shape).flatten(0, 1), maps, accuracy=accuracy)
    full = CartesianMRI(torch.ones(shape), maps)
    assert exact.distance(op(x), full(x).flatten(2)) < BARS[accuracy]
    assert exact.distance(op.adjoint(full(x).flatten(2)), full.normal(x)) < BARS[accuracy]
    assert exact.distance(op.normal(x), full.normal(x)) < 1e-6
    assert op.norm() == pytest.approx(full.norm(), rel=1e-2)  # power iteration stops early


@given(st.integers(1, 12), st.integers(2, 13), st.integers(1, 3), st.booleans(), st.integers(0, 5))
def test_definition_at_drawn_sizes(height: int, width: int, coils: int, per_item: bool, seed: int) -> None:
    k = positions(2, 20, height=height, width=width, seed=seed)[slice(None) if per_item else slice(1)]
    maps, x = image(coils, height, width, seed=seed), image(2, 1, height, width, seed=seed + 1)
    op = NonCartesianMRI(k, maps, accuracy="high")
    samples = [exact.transform(maps * item, where) for item, where in zip(x, k.expand(2, -1, -1), strict=True)]
    images = [exact.adjoint(y, where, (height, width)) for y, where in zip(samples, k.expand(2, -1, -1), strict=True)]
    back = (maps.conj() * torch.stack(images)).sum(1, keepdim=True)
    for found, wanted in ((op(x), torch.stack(samples)), (op.adjoint(op(x)), back), (op.normal(x), back)):
        assert exact.distance(found, wanted) < 3e-5


def test_sampled_grid_points_give_masked_cartesian_mri() -> None:
    mask, x = points(9, 8), image(1, 1, 9, 8)
    y = CartesianMRI(mask)(x)[..., mask]
    op = NonCartesianMRI(cartesian((9, 8))[mask], shape=(1, 9, 8), accuracy="high")
    assert exact.distance(op(x), y) < 1.5e-5


@pytest.mark.parametrize("shape", SIZES)
def test_one_pixel(shape: tuple[int, int]) -> None:
    """A pixel at (2, 5) is a plane wave of constant modulus."""
    k = positions(50, height=shape[0], width=shape[1])
    x = torch.zeros(1, 1, *shape, dtype=torch.complex64)
    x[..., 2, 5] = 1
    turns = k[:, 0] * (2 - shape[0] // 2) / shape[0] + k[:, 1] * (5 - shape[1] // 2) / shape[1]
    wave = torch.polar(torch.full_like(turns, math.prod(shape) ** -0.5), -2 * math.pi * turns)
    assert exact.distance(NonCartesianMRI(k, shape=shape, accuracy="high")(x)[0, 0], wave) < 3e-5


@pytest.mark.parametrize("shape", SIZES)
def test_the_sum_lands_on_the_centre(shape: tuple[int, int]) -> None:
    x = image(1, 1, *shape)
    y = NonCartesianMRI(torch.zeros(1, 2), shape=shape, accuracy="high")(x)
    torch.testing.assert_close(y[0, 0, 0], x.sum() / math.prod(shape) ** 0.5, rtol=1e-4, atol=1e-4)


def test_gaussian_on_spokes() -> None:
    """exp(-pi r^2 / s^2), off centre by d, has the transform s^2 exp(-pi s^2 f^2 - 2 pi i f d)."""
    height, width, s, (dr, dc) = 49, 48, 6.0, (3.5, -4.25)
    r, c = (torch.arange(n, dtype=torch.float64) - n // 2 for n in (height, width))
    x = torch.exp(-math.pi * ((r[:, None] - dr) ** 2 + (c - dc) ** 2) / s**2).to(torch.complex64)[None, None]
    k = radial(13, (height, width), order="golden").flatten(0, 1)
    f = k / torch.tensor((height, width))
    size = s**2 * torch.exp(-math.pi * s**2 * f.square().sum(1)) / math.sqrt(height * width)
    wanted = torch.polar(size, -2 * math.pi * (f[:, 0] * dr + f[:, 1] * dc))
    y = NonCartesianMRI(k, shape=(height, width), accuracy="high")(x)[0, 0]
    assert exact.distance(y, wanted) < 1e-5


def test_ellipse_on_spokes() -> None:
    """k-space of an ellipse with half axes (a, b) is a b J1(2 pi q) / q, q = |(a f_r, b f_c)|; pixels average it."""
    n, a, b, fine = 64, 21.0, 14.0, 16
    grid = (torch.arange(n * fine, dtype=torch.float64) + 0.5) / fine - 0.5 - n // 2
    inside = ((grid[:, None] / a) ** 2 + (grid / b) ** 2 < 1).double()
    x = inside.reshape(n, fine, n, fine).mean((1, 3)).to(torch.complex64)[None, None]
    k = radial(12, (n, n)).flatten(0, 1)
    k = k[(k.norm(dim=1) > 0.1) & (k.norm(dim=1) < n / 4)]  # beyond, pixels of a sharp edge alias
    f = k / n
    q = torch.hypot(a * f[:, 0], b * f[:, 1])
    wanted = a * b * torch.from_numpy(j1((2 * math.pi * q).numpy())) / q * torch.sinc(f[:, 0]) * torch.sinc(f[:, 1]) / n
    y = NonCartesianMRI(k, shape=(n, n), accuracy="high")(x)[0, 0]
    assert exact.distance(y, wanted) < 2e-3


@pytest.mark.parametrize("accuracy", BARS)
def test_normal_is_exacter_than_the_transforms(accuracy: str) -> None:
    k, maps, x = positions(300, height=33, width=40), coil_maps(3, 33, 40), image(2, 1, 33, 40)
    op = NonCartesianMRI(k, maps, accuracy=accuracy)
    wanted = (maps.conj() * exact.adjoint(exact.transform(maps * x, k), k, (33, 40))).sum(1, keepdim=True)
    assert exact.distance(op.normal(x), wanted) < 1e-6
    between = exact.distance(op.normal(x), op.adjoint(op(x)).to(torch.complex128))
    assert 1e-6 < between < op.normal_error


class WrongNormal(NonCartesianMRI):
    """Three parts in a thousand too large, which is more than the transforms' accuracy explains."""

    def normal(self, x: Tensor) -> Tensor:
        return 1.003 * super().normal(x)


def test_a_wrong_normal_is_noticed() -> None:
    arguments: dict[str, Any] = {"trajectory": positions(30, height=7, width=6), "shape": (7, 6)}
    check_operator(NonCartesianMRI(**arguments))
    with pytest.raises(AssertionError, match="normal: relative error 3"):
        check_operator(WrongNormal(**arguments))


@pytest.mark.parametrize("limit", [0, 3 * 18 * 16 * 8])
def test_coil_loop_changes_nothing(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from invdiff.operators import noncartesian

    op = NonCartesianMRI(positions(2, 30, height=9, width=8), coil_maps(3, 9, 8, batch=2))
    x = image(2, 1, 9, 8)
    whole = op.normal(x)
    monkeypatch.setattr(noncartesian, "LOOP_BYTES", limit)
    torch.testing.assert_close(op.normal(x), whole, rtol=1e-5, atol=1e-6)


def test_weighted_normal_and_gridding() -> None:
    k, maps, x = positions(60, height=9, width=8), coil_maps(2, 9, 8), image(2, 1, 9, 8)
    w = torch.rand(60, generator=torch.Generator().manual_seed(1))
    op = NonCartesianMRI(k, maps, density=w, accuracy="high")
    y = exact.transform(maps * x, k)
    wanted = (maps.conj() * exact.adjoint(w * y, k, (9, 8))).sum(1, keepdim=True)
    assert exact.distance(op.weighted_normal(x), wanted) < 1e-6
    assert exact.distance(op.gridding(y.to(torch.complex64)), wanted) < 1.5e-5


def test_gridding_of_a_fine_scan_is_the_image() -> None:
    """Sampling all of a disc of k-space loses its corners only: a smooth image comes back."""
    n = 48
    r = torch.arange(n, dtype=torch.float32) - n // 2
    x = torch.exp(-((r[:, None] - 4) ** 2 + (r + 3) ** 2) / 30).to(torch.complex64)[None, None]
    op = NonCartesianMRI(radial(79, (n, n)).flatten(0, 1), shape=(n, n))
    error = float((op.gridding(op(x)) - x).norm() / x.norm())
    assert error < 0.01
    assert float((op.adjoint(op(x)) / 79 - x).norm() / x.norm()) > 0.2  # the adjoint is no image


def phantom_scan(n: int, spokes: int, coils: int = 4) -> tuple[NonCartesianMRI, Tensor, Tensor]:
    maps = smooth_maps(coils, n, n)
    x = head_phantom((n, n)).to(torch.complex64)[None, None]
    op = NonCartesianMRI(radial(spokes, (n, n), order="golden").flatten(0, 1), maps)
    return op, x, op.simulate(x, 0.02)


def test_reference_image_of_grid_points_is_the_cartesian_one() -> None:
    shape, maps = (24, 21), smooth_maps(3, 24, 21)
    mask = torch.zeros(21, dtype=torch.bool)
    mask[[1, 18, *range(6, 15)]] = True
    op = NonCartesianMRI(cartesian(shape)[:, mask].flatten(0, 1), maps, density=torch.ones(24 * 11))
    full = CartesianMRI(mask, maps)
    y = full(head_phantom(shape).to(torch.complex64)[None, None])
    found = op.reference_image(y[..., mask].flatten(2))
    assert exact.distance(found, full.reference_image(y).to(torch.complex128)) < 5e-4


@pytest.mark.parametrize("spokes", [16, 32, 64])
def test_intensity_scale_does_not_depend_on_the_spokes(spokes: int) -> None:
    op, x, y = phantom_scan(64, spokes)
    found = op.reference_image(y).abs().quantile(0.95) / x.abs().quantile(0.95)
    assert 0.85 < float(found) < 1.1  # blurred to the densely sampled centre of k-space
    scaled = op.reference_image(y / 1024).abs().quantile(0.95) / x.abs().quantile(0.95)
    torch.testing.assert_close(scaled, found / 1024, rtol=1e-4, atol=0)


def test_a_scan_without_a_dense_centre_gets_conjugate_gradients() -> None:
    op, x, y = phantom_scan(64, 5)
    assert not bool(op._calibration()[1].any())
    found = op.reference_image(y)
    assert torch.isfinite(found).all()
    assert 0.3 < float(found.abs().quantile(0.95) / x.abs().quantile(0.95)) < 1.5


@pytest.mark.parametrize("sigma", [0.05, 0.5])
def test_noise_level_from_the_ends_of_spokes(sigma: float) -> None:
    n = 64
    r = torch.arange(n, dtype=torch.float32) - n // 2
    x = 40 * torch.exp(-(r[:, None] ** 2 + r**2) / 40).to(torch.complex64).expand(2, 1, n, n)
    op = NonCartesianMRI(radial(40, (n, n)).flatten(0, 1), smooth_maps(4, n, n))
    found = op.estimate_sigma(op.simulate(x, sigma))
    # 512 samples of 4 coils: the median scatters by 0.79 / sqrt(4096) = 1.2 %
    torch.testing.assert_close(found, torch.full((2,), sigma), rtol=0.06, atol=0)
    assert op.measured(True) == 2 * 4 * 40 * 128


def test_unseen_pixels_end_at_zero() -> None:
    op = NonCartesianMRI(positions(200, height=9, width=8), coil_maps(3, 9, 8))
    y = image(1, 3, 200)
    for out in (op.adjoint(y), op.normal(image(1, 1, 9, 8)), op.reference_image(y)):
        assert torch.isfinite(out).all()
        assert out[0, 0, 0, 0] == 0
    assert op.support is not None
    assert int((~op.support).sum()) == 1


@pytest.mark.parametrize(("method", "bound"), [("adjoint", 0.7), ("cg", 0.2), ("tv", 0.15), ("wavelet", 0.15)])
def test_methods_reconstruct_a_radial_scan(method: str, bound: float) -> None:
    op, x, y = phantom_scan(48, 24)
    options: dict[str, Any] = {"iterations": 40} if method in ("tv", "wavelet") else {}
    result = invdiff.solve(y, op, method=method, sigma_y=0.02, **options)
    assert float((result.x - x).norm() / x.norm()) < bound
    assert result.chi2 is not None
    if method != "adjoint":
        assert 0.5 < float(result.chi2) < 2
    estimated = invdiff.solve(y, op, method="cg").sigma_y
    assert estimated is not None
    assert 0.7 < float(estimated) / 0.02 < 3  # edges of the phantom reach the ends of the spokes


def test_units_of_a_prior_come_from_the_centre_of_k_space() -> None:
    """The scale that `solve` finds behind spokes is that behind the Cartesian grid, up to the blur of the centre."""
    from invdiff.units import by_percentile

    op, x, y = phantom_scan(64, 48)
    full = CartesianMRI(torch.ones(64, 64), smooth_maps(4, 64, 64))
    scales = [by_percentile(o.reference_image(data), 99.0).scale for o, data in ((op, y), (full, full(x)))]
    torch.testing.assert_close(scales[0], scales[1], rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("method", "options"), [("dds", {"steps": 8}), ("dps", {"steps": 12}), ("sitcom", {"steps": 4, "inner": 4})]
)
def test_methods_with_a_prior_scale_with_the_data(method: str, options: dict[str, Any]) -> None:
    """Units, noise level and result follow a change of units of y by a power of two, which rounds nothing."""
    n = 16
    r = torch.arange(n) - n // 2
    power = 4 / (1 + (r[:, None] ** 2 + r**2) / 2.0) ** 1.5
    prior = GaussianPrior.stationary(torch.zeros(1, n, n, dtype=torch.complex64), power[None])
    prior.percentile = 99.0
    op = NonCartesianMRI(radial(12, (n, n)).flatten(0, 1), smooth_maps(3, n, n))
    y = op.simulate(prior.sample(2, 5), 0.05)
    first, second = (invdiff.solve(data, op, prior, method, seed=0, **options) for data in (y, y / 64))
    torch.testing.assert_close(second.units.scale, first.units.scale / 64)
    torch.testing.assert_close(second.x, first.x / 64, rtol=1e-3, atol=1e-4 * float(first.x.abs().max()) / 64)
    assert first.sigma_y is not None
    assert bool((first.sigma_y > 0.04).all())


MAPS = coil_maps(3, 6, 8)
GOOD = positions(9, height=6, width=8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"trajectory": GOOD}, ValueError, r"without maps, shape=\(H, W\)"),
        ({"trajectory": GOOD, "maps": MAPS.real}, TypeError, "NonCartesianMRI: maps must be complex"),
        ({"trajectory": GOOD, "maps": 0 * MAPS}, ValueError, "maps of item 0 are zero everywhere"),
        ({"trajectory": GOOD, "maps": MAPS, "shape": (8, 6)}, ValueError, r"maps are \(6, 8\) and shape says \(8, 6\)"),
        (
            {"trajectory": GOOD, "shape": (2, 6, 8)},
            ValueError,
            r"must be \(H, W\) or \(1, H, W\) for a trajectory of 2",
        ),
        ({"trajectory": GOOD.expand(2, 9, 2), "maps": MAPS.expand(3, -1, -1, -1)}, ValueError, "for 2 items and"),
        ({"trajectory": 9 * GOOD, "maps": MAPS}, ValueError, "NonCartesianMRI: the trajectory reaches"),
        ({"trajectory": GOOD, "maps": MAPS, "density": torch.ones(8)}, ValueError, r"one weight per sample, \(9,\)"),
        ({"trajectory": GOOD, "maps": MAPS, "density": -torch.ones(9)}, ValueError, "9 of the density weights"),
        ({"trajectory": GOOD, "maps": MAPS, "accuracy": "low"}, ValueError, 'must be "default", "high" or'),
    ],
)
def test_refused_at_construction(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        NonCartesianMRI(**arguments)


def test_refused_at_call() -> None:
    op = NonCartesianMRI(GOOD, MAPS)
    with pytest.raises(ValueError, match=r"adjoint of NonCartesianMRI takes \(B, 3, 9\), got \(1, 3, 8\)"):
        op.adjoint(image(1, 3, 8))
    with pytest.raises(TypeError, match="takes a complex x"):
        op.normal(torch.ones(1, 1, 6, 8))
    with pytest.raises(ValueError, match="holds tensors for 2 items, got a batch of 3"):
        NonCartesianMRI(GOOD.expand(2, 9, 2), shape=(6, 8)).normal(image(3, 1, 6, 8))


def test_three_dimensions() -> None:
    pytest.importorskip("finufft")
    shape = (4, 5, 6)
    k = (torch.rand(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5) * torch.tensor(shape)
    maps, x = image(1, 2, *shape, seed=1), image(2, 1, *shape)
    op = NonCartesianMRI(k, maps, accuracy="high")
    y = exact.transform(maps * x, k)
    wanted = (maps.conj() * exact.adjoint(y, k, shape)).sum(1, keepdim=True)
    assert exact.distance(op(x), y) < 1.5e-5
    assert exact.distance(op.normal(x), wanted) < 1e-6
    check_operator(op, dense=False)
    for method in ("cg", "tv"):
        solved = invdiff.solve(y.to(torch.complex64), op, method=method, sigma_y=1e-3, iterations=60)
        assert solved.x.shape == x.shape


def test_gridding_in_three_dimensions() -> None:
    """On the full grid it is the adjoint, and the image, but for what the weights differ from 1."""
    pytest.importorskip("finufft")
    shape = (4, 6, 5)
    k = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) - n // 2 for n in shape))
    op, x = NonCartesianMRI(k, shape=shape), image(1, 1, *shape)
    y = op(x)
    assert exact.distance(op.gridding(y), x) < 0.05
    assert exact.distance(op.weighted_normal(x), op.gridding(y)) < 1e-3
    assert exact.distance(op.gridding(y), x) > exact.distance(op.adjoint(y), x)


@pytest.mark.cuda
def test_cuda_equals_the_cpu() -> None:
    op, x = NonCartesianMRI(positions(300, height=33, width=40), coil_maps(3, 33, 40)), image(2, 1, 33, 40)
    y, normal = op(x), op.normal(x)
    there = op.to("cuda")
    for found, wanted in ((there(x.cuda()), y), (there.normal(x.cuda()), normal)):
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-5)
