"""A Gaussian kept on a coarse grid: the same images on any grid, and the noise level that hides as much of them."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.priors.coarse import KEPT, CoarseGaussian, resample
from tests.priors.models import COMPLEX, KINDS, REAL, normal


def smooth_images(n: int, shape: tuple[int, int], is_complex: bool = False, seed: int = 0) -> Tensor:
    """Random Fourier series of three waves an axis, decaying, the same functions on every grid; (n, 1, H, W)."""
    coefficients = normal(n, 7, 7, dtype=COMPLEX, seed=seed)
    k = torch.arange(7) - 3
    coefficients = coefficients / (1 + k[:, None] ** 2 + k**2)
    rows, columns = (torch.exp(2j * math.pi * torch.arange(m, dtype=REAL)[:, None] * k / m) for m in shape)
    images = torch.einsum("hk,nkl,wl->nhw", rows, coefficients, columns)[:, None]
    return images if is_complex else images.real + 0.5


def fitted(is_complex: bool = False, rank: int = 24, shape: tuple[int, int] = (16, 16)) -> CoarseGaussian:
    return CoarseGaussian.fit(smooth_images(400, shape, is_complex), rank=rank, grid=9)


@pytest.mark.parametrize("size", [(9, 9), (16, 12), (15, 21), (32, 40)])
def test_resampling_keeps_the_values_of_smooth_functions(size: tuple[int, int]) -> None:
    # the series has waves up to 3, which 7 samples an axis hold; double precision
    fine, wanted = resample(smooth_images(3, (18, 14)), size), smooth_images(3, size)
    assert_close(fine, wanted, rtol=1e-10, atol=1e-10)


def test_resampling_to_fewer_samples_keeps_the_waves_they_hold() -> None:
    line = torch.arange(16, dtype=REAL) / 16
    slow, fast = torch.cos(2 * math.pi * line), torch.cos(2 * math.pi * 5 * line)
    out = resample((slow + fast).expand(1, 1, 16, 16), (16, 8))
    assert_close(out[0, 0, 0], slow[::2], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 24, 20), (1, 9, 9)])
def test_pixels_keep_mean_and_variance_on_every_grid(dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    prior = fitted(dtype.is_complex).at(shape)
    images = smooth_images(400, shape[1:], dtype.is_complex)
    parts = torch.cat([images.real, images.imag]) if dtype.is_complex else images
    variance = parts.square().mean(0) if dtype.is_complex else parts.var(0, correction=0)
    # rank 24 of 49 waves; what is left is spread evenly. Single precision.
    assert_close(prior.covariance.variance().double(), variance, rtol=0.02, atol=0.01)
    mean = torch.zeros_like(parts[0]) if dtype.is_complex else parts.mean(0)
    assert_close(prior.mean[0].real.double(), mean, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("is_complex", [False, True])
def test_the_fit_is_the_sample_covariance_where_the_rank_holds_it(is_complex: bool) -> None:
    images = smooth_images(400, (11, 11), is_complex)
    model = CoarseGaussian.fit(images, rank=49, grid=11)
    assert model.rest < 1e-8
    parts = torch.cat([images.real, images.imag]) if is_complex else images - images.mean(0)
    flat = parts.flatten(1)
    probes = normal(3, 1, 11, 11, dtype=COMPLEX if is_complex else REAL, seed=3)
    wanted = (probes.flatten(1) @ (flat.mT @ flat / len(flat)).to(probes.dtype)).reshape(probes.shape)
    found = model.at((1, 11, 11)).cov(probes.to(torch.complex64 if is_complex else torch.float32))
    assert_close(found.to(probes.dtype), wanted, rtol=1e-3, atol=1e-3)


def test_noise_that_grows_with_the_side_hides_as_much() -> None:
    """The error of D per pixel is the same at sigma on 16 x 16 and at 2 sigma on 32 x 32 pixels."""
    model = fitted(rank=49)  # all waves: what `rest` spreads evenly does not grow
    errors = []
    for side in (16, 32):
        prior, sigma = model.at((1, side, side)), 0.8 * model.level_scale((1, side, side))
        x = smooth_images(300, (side, side), seed=5).float()
        noise = normal(300, 1, side, side, seed=6).float()
        errors.append(float((prior(x + sigma * noise, sigma) - x).square().mean()))
    assert model.level_scale((1, 32, 32)) == 2
    assert errors[1] == pytest.approx(errors[0], rel=0.05)  # 300 images of about ten known waves: 2 %
    # the same sigma on both grids would not do
    prior = model.at((1, 32, 32))
    same = float((prior(x + 0.8 * noise, 0.8) - x).square().mean())
    assert same < 0.6 * errors[0]


def test_gaussians_are_kept_for_a_few_sizes() -> None:
    model = fitted()
    first = model.at((1, 12, 12))
    assert model.at((1, 12, 12)) is first
    for side in range(20, 20 + KEPT):
        model.at((1, side, side))
    assert model.at((1, 12, 12)) is not first
    assert model.double().at((1, 12, 12)).dtype == torch.float64


def test_files_hold_half_precision() -> None:
    model = fitted(is_complex=True)
    again = CoarseGaussian.restored(model.tensors(), model.scalars())
    x = normal(2, 1, 16, 16, dtype=COMPLEX).to(torch.complex64)
    # values of about 1, rounded to 2^-11
    assert_close(again.at((1, 16, 16))(x, 0.5), model.at((1, 16, 16))(x, 0.5), rtol=0.0, atol=2e-3)
    assert all(t.dtype == torch.float16 for t in model.tensors().values())


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CoarseGaussian.fit(smooth_images(9, (16, 16)), grid=8), "grid must be odd"),
        (lambda: CoarseGaussian.fit(smooth_images(9, (16, 7)), grid=9), "at most the side"),
        (lambda: CoarseGaussian.fit(smooth_images(9, (16, 16)), rank=60, grid=9), "rank 60"),
        (lambda: fitted().at((3, 16, 16)), r"images \(1, H, W\)"),
        (lambda: CoarseGaussian(torch.ones(2, 1, 3, 3), torch.ones(1, 3, 3), rest=0, size=3, complex=True), "mean 0"),
        (lambda: CoarseGaussian(torch.ones(2, 3, 3), torch.ones(3, 3), rest=0, size=3, complex=False), "components"),
        (lambda: CoarseGaussian(torch.ones(2, 1, 3, 3), torch.ones(1, 3, 3), rest=-1, size=3, complex=False), "rest"),
    ],
)
def test_what_is_refused(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
