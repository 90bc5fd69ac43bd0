"""The Gaussian prior against dense algebra, sampling and a fine integration of its ODE."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.priors.covariance import LowRankCovariance, StationaryCovariance
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.prior import Prior, denoise_vjp
from invdiff.random import streams
from tests.priors.models import COMPLEX, KINDS, REAL, low_rank, normal, orthonormal, real, real_matrix, stationary

MODELS = [low_rank, stationary]
Build = Callable[..., GaussianPrior]
# Double precision throughout; a few hundred operations lose four digits at most.
TIGHT = {"rtol": 1e-10, "atol": 1e-11}


@pytest.fixture(params=MODELS, ids=["low-rank", "stationary"])
def build(request: pytest.FixtureRequest) -> Build:
    return request.param


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(1, 5, 4), (2, 4, 3)])
def test_denoiser_is_the_dense_wiener_filter(build: Build, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    prior = build(shape, dtype)
    c = real_matrix(prior.cov, shape, dtype)
    assert_close(c, c.mT, **TIGHT)
    x, sigma = normal(3, *shape, dtype=dtype, seed=7), torch.tensor([0.3, 1.0, 4.0], dtype=REAL)
    off = real(x - prior.mean)
    for i in range(3):
        wiener = c @ torch.linalg.inv(c + sigma[i] ** 2 * torch.eye(len(c), dtype=REAL))
        assert_close(real(prior(x, sigma)[i : i + 1] - prior.mean), off[i : i + 1] @ wiener.mT, **TIGHT)


@pytest.mark.parametrize("dtype", KINDS)
def test_covariance_is_per_real_component(build: Build, dtype: torch.dtype) -> None:
    """Samples and the fit agree on C = E[(x - mu)(x - mu)^H], halved for complex images."""
    prior = build(dtype=dtype)
    x = (prior.sample(20000, 3) - prior.mean).flatten(1)
    found = x.mT @ x.conj() / len(x) / (2 if dtype.is_complex else 1)
    images = torch.eye(20, dtype=dtype).reshape(20, 1, 5, 4)
    wanted = prior.cov(images).flatten(1).mT
    # 4 standard errors of the largest entry: sqrt(2 / n) times a variance of at most 4.
    assert float((found - wanted).abs().max()) < 4 * math.sqrt(2 / 20000) * float(wanted.abs().max())
    assert_close(prior.covariance.variance().flatten(), wanted.diagonal().real, **TIGHT)
    if dtype.is_complex:
        pseudo = x.mT @ x / len(x)  # circular: E[x x^T] = 0
        assert float(pseudo.abs().max()) < 8 * math.sqrt(2 / 20000) * float(wanted.abs().max())
        parts = torch.view_as_real(prior.sample(20000, 4) - prior.mean).var(0).mean(-1)
        assert_close(parts, prior.covariance.variance(), rtol=0.06, atol=0.0)  # 4 standard errors of 1 %


@pytest.mark.parametrize("dtype", KINDS)
def test_log_density_and_its_score(build: Build, dtype: torch.dtype) -> None:
    prior = build(dtype=dtype)
    x = normal(2, 1, 5, 4, dtype=dtype, seed=7).requires_grad_()
    c = real_matrix(prior.cov, (1, 5, 4), dtype)
    dense = torch.distributions.MultivariateNormal(
        real(prior.mean)[0], c + 0.49 * torch.eye(len(c), dtype=REAL), validate_args=False
    )
    density = prior.log_density(x, 0.7)
    assert_close(density, dense.log_prob(real(x)), **TIGHT)
    (score,) = torch.autograd.grad(density.sum(), x)
    assert_close(x + 0.49 * score, prior(x, 0.7), **TIGHT)  # Tweedie


@pytest.mark.parametrize("dtype", KINDS)
def test_vjp_is_autograd_and_posterior_cov_is_dense(build: Build, dtype: torch.dtype) -> None:
    prior = build(dtype=dtype)
    x, v = normal(2, 1, 5, 4, dtype=dtype, seed=7), normal(2, 1, 5, 4, dtype=dtype, seed=8)
    leaf = x.clone().requires_grad_()
    (pull,) = torch.autograd.grad(prior(leaf, 0.7), leaf, v)
    assert_close(prior.vjp(x, 0.7, v), pull, **TIGHT)
    assert_close(denoise_vjp(prior, x, 0.7)[1](v), pull, **TIGHT)
    c = real_matrix(prior.cov, (1, 5, 4), dtype)
    dense = c - c @ torch.linalg.inv(c + 0.49 * torch.eye(len(c), dtype=REAL)) @ c
    assert_close(real(prior.posterior_cov(x, 0.7, v)), real(v) @ dense.mT, **TIGHT)


@pytest.mark.parametrize("dtype", KINDS)
def test_flow_solves_the_probability_flow(build: Build, dtype: torch.dtype) -> None:
    """dx / d log sigma = x - D, by 400 steps of fourth order: good to 1e-8."""
    prior = build(dtype=dtype)
    x = start = normal(2, 1, 5, 4, dtype=dtype, seed=7)
    steps, a, b = 400, 5.0, 0.05
    h = math.log(b / a) / steps

    def slope(x: Tensor, t: float) -> Tensor:
        return x - prior(x, math.exp(t))

    for i in range(steps):
        t = math.log(a) + i * h
        k1 = slope(x, t)
        k2 = slope(x + h / 2 * k1, t + h / 2)
        k3 = slope(x + h / 2 * k2, t + h / 2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3, t + h))
    assert_close(prior.flow(start, a, b), x, rtol=1e-6, atol=1e-7)
    assert_close(prior.flow(prior.flow(start, a, b), b, a), start, **TIGHT)
    level = torch.tensor([a, 2.0], dtype=REAL)
    assert_close(prior.flow(start, level, 0)[1:], prior.flow(start[1:], 2.0, 0.0), **TIGHT)


@pytest.mark.parametrize("dtype", KINDS)
def test_fit_recovers_a_low_rank_covariance(dtype: torch.dtype) -> None:
    truth = low_rank((1, 6, 5), dtype)
    prior = GaussianPrior.fit(truth.sample(20000, 1), rank=3)
    # Standard errors sqrt(2 / n) = 1 % of a variance, less with two components and in the floor.
    assert_close(prior.covariance.spectrum, truth.covariance.spectrum.to(REAL), rtol=0.05, atol=0.0)
    assert_close(prior.mean, truth.mean, rtol=0.0, atol=0.05)
    images = torch.eye(30, dtype=dtype).reshape(30, 1, 6, 5)
    assert_close(prior.cov(images), truth.cov(images), rtol=0.0, atol=0.15)


@pytest.mark.parametrize("dtype", KINDS)
def test_fit_recovers_a_spectrum(dtype: torch.dtype) -> None:
    truth = stationary((2, 5, 4), dtype)
    flat = GaussianPrior(torch.full((2, 5, 4), 0.5, dtype=dtype), truth.covariance)
    prior = GaussianPrior.fit(flat.sample(20000, 1), "stationary")
    # The zero frequency leaks nothing: the mean is known to 1 %. Others as above.
    assert_close(prior.covariance.power, truth.covariance.power, rtol=0.08, atol=0.0)


def test_fit_with_fewer_images_than_pixels() -> None:
    images = low_rank((1, 9, 8), torch.float32).sample(12, 0)
    prior = GaussianPrior.fit(images, rank=11)
    assert prior.mean.dtype == torch.float32
    # The sample covariance has rank 11, so nothing is left for the floor and images are their own reconstruction.
    assert float(prior.covariance.spectrum[0, -1]) < 1e-6
    assert_close(prior(images, 1e-3), images, rtol=0.0, atol=1e-4)
    assert prior.range == (float(images.min()), float(images.max()))


def test_samples_do_not_depend_on_the_batch() -> None:
    prior = low_rank()
    assert_close(prior.sample(3, 5)[:2], prior.sample(2, 5))
    assert not torch.equal(prior.sample(2, 5), prior.sample(2, 6))
    noise, _ = streams(5, 2)
    assert torch.equal(prior.sample(2, noise), prior.sample(2, 5))
    with pytest.raises(ValueError, match="3 samples need 3 streams"):
        prior.sample(3, noise)


def test_moves_and_precision() -> None:
    prior = low_rank(dtype=COMPLEX)
    x = normal(2, 1, 5, 4, dtype=COMPLEX)
    wanted = prior(x, 0.5)
    prior.to(torch.float32)
    assert prior.dtype == torch.complex64
    assert_close(prior(x.to(torch.complex64), 0.5), wanted.to(torch.complex64), rtol=1e-4, atol=1e-5)
    assert prior(x, 0.5).dtype == COMPLEX


def test_protocol_and_description() -> None:
    prior = low_rank().describe(domain="axial brain", percentile=99.0)
    assert isinstance(prior, Prior)
    assert (prior.domain, prior.percentile, prior.shape, prior.complex) == ("axial brain", 99.0, (1, 5, 4), False)


def test_stationary_denoiser_commutes_with_shifts() -> None:
    prior = GaussianPrior(torch.zeros(1, 7, 6, dtype=REAL), stationary((1, 7, 6)).covariance)
    x = normal(1, 1, 7, 6)
    assert_close(prior(x.roll((2, 3), (-2, -1)), 0.5), prior(x, 0.5).roll((2, 3), (-2, -1)), **TIGHT)


def test_zero_frequency_sits_in_the_middle() -> None:
    spectrum = torch.full((1, 7, 6), 1e-12, dtype=REAL)
    spectrum[0, 3, 3] = 1.0
    prior = GaussianPrior.stationary(torch.zeros(1, 7, 6, dtype=REAL), spectrum)
    x = normal(1, 1, 7, 6)
    assert_close(prior(x, 1e-3), x.mean().expand_as(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: low_rank()(normal(1, 1, 5, 5), 0.1), "takes images"),
        (lambda: low_rank()(normal(5, 4), 0.1), "takes images"),
        (lambda: low_rank()(normal(1, 1, 5, 4), 0.0), "must be positive"),
        (lambda: low_rank()(normal(3, 1, 5, 4), torch.ones(2)), "one value per sample"),
        (lambda: LowRankCovariance(2 * orthonormal(2, (1, 3, 3)), torch.ones(2), 0.0), "not orthonormal"),
        (lambda: LowRankCovariance(orthonormal(2, (1, 3, 3)), torch.tensor([1.0, -1.0]), 0.0), "0 or more"),
        (lambda: LowRankCovariance(orthonormal(2, (1, 3, 3)), torch.ones(3), 0.0), r"variances \(r,\)"),
        (lambda: LowRankCovariance(torch.ones(3, 1, 1, 2), torch.ones(3), 0.0), "3 vectors in 2"),
        (lambda: StationaryCovariance(torch.rand(1, 4, 4), False), "must be even"),
        (lambda: GaussianPrior.low_rank(torch.zeros(1, 3, 4), orthonormal(2, (1, 3, 3)), torch.ones(2)), "same shape"),
        (lambda: GaussianPrior.fit(normal(9, 1, 3, 3), "wavelet"), "must be 'low-rank'"),
        (lambda: GaussianPrior.fit(normal(4, 1, 3, 3), rank=6), "at least as many samples"),
        (lambda: GaussianPrior.fit(normal(20, 1, 3, 3), rank=10), "exceeds the 9"),
        (lambda: GaussianPrior.fit(torch.full((4, 1, 3, 3), torch.nan)), "finite"),
    ],
)
def test_refusals(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_kinds_are_not_mixed() -> None:
    with pytest.raises(TypeError, match="real images"):
        low_rank()(normal(1, 1, 5, 4, dtype=COMPLEX), 0.1)
