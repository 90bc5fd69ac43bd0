"""Every closed form against the integral it stands for: E[x0 | x] = int x0 p(x0) N(x; x0, sigma^2) / int p(x0) N(...).

Four real dimensions (2 x 2 real pixels, or two complex ones), by a tensor Gauss-Hermite rule for each component of the
prior. Only weights, means and covariance matrices enter it, written out here.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.priors.analytic import AnalyticPrior
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.local_wiener import LocalWienerPrior, hann
from invdiff.priors.low_rank_mixture import LowRankMixture
from invdiff.priors.mixture import GaussianMixturePrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.template import Template
from tests.priors.models import COMPLEX, REAL, normal, orthonormal, real, real_matrix

NODES = 28  # per dimension; the integrand is smooth on the scale of their distance for the sigmas below


class Part(NamedTuple):
    """weight N(mean (4,), covariance (4, 4)) over real coordinates."""

    weight: float
    mean: Tensor
    covariance: Tensor


def numerical_mean(parts: list[Part], x: Tensor, sigma: float) -> Tensor:
    """E[x0 | x] for x (B, 4)."""
    node, weight = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(NODES))
    grid = torch.stack(torch.meshgrid(node, node, node, node, indexing="ij"), -1).reshape(-1, 4)
    mass = torch.stack(torch.meshgrid(weight, weight, weight, weight, indexing="ij"), -1).reshape(-1, 4).prod(1)
    top, bottom = torch.zeros_like(x), x.new_zeros(len(x), 1)
    for part in parts:
        values, vectors = torch.linalg.eigh(part.covariance)
        x0 = part.mean + (grid * values.clamp(min=0).sqrt()) @ vectors.mT
        for i in range(len(x)):
            likelihood = torch.exp(-((x[i] - x0) ** 2).sum(1) / (2 * sigma**2))
            share = part.weight * mass * likelihood
            top[i] += (share[:, None] * x0).sum(0)
            bottom[i] += share.sum()
    return top / bottom


def gaussian_part(prior: GaussianPrior, weight: float = 1.0) -> Part:
    shape = prior.covariance.shape
    return Part(weight, real(prior.mean)[0], real_matrix(prior.cov, shape, COMPLEX if prior.complex else REAL))


def low_rank(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[AnalyticPrior, list[Part]]:
    mean, basis = 0.5 * normal(*shape, dtype=dtype, seed=2), orthonormal(1, shape, dtype, seed=1)
    prior = GaussianPrior.low_rank(mean, basis, torch.tensor([0.8], dtype=REAL), 0.3)
    u = basis.flatten()
    matrix = (0.8 - 0.3) * torch.outer(u, u.conj()) + 0.3 * torch.eye(len(u), dtype=dtype)
    return prior, [Part(1.0, real(mean[None])[0], _real_covariance(matrix))]


def stationary(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[AnalyticPrior, list[Part]]:
    mean = 0.5 * normal(*shape, dtype=dtype, seed=2)
    power = torch.linspace(0.2, 0.9, mean.numel(), dtype=REAL).reshape(shape)
    prior = GaussianPrior.stationary(mean, power)
    n = mean.numel()
    units = torch.eye(n, dtype=COMPLEX).reshape(n, *shape)
    fourier = torch.fft.fftshift(torch.fft.fft2(units, norm="ortho"), dim=(-2, -1)).flatten(1).mT
    matrix = fourier.mH @ torch.diag(power.flatten()).to(COMPLEX) @ fourier
    return prior, [Part(1.0, real(mean[None])[0], _real_covariance(matrix if dtype.is_complex else matrix.real))]


def mixture(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[AnalyticPrior, list[Part]]:
    weights, floors = torch.tensor([0.3, 0.7], dtype=REAL), torch.tensor([0.2, 0.4], dtype=REAL)
    means = normal(2, *shape, dtype=dtype, seed=5)
    bases = torch.stack([orthonormal(1, shape, dtype, seed=k) for k in range(2)])
    prior = GaussianMixturePrior(weights, means, bases, torch.tensor([[0.9], [0.6]]), floors)
    return prior, [gaussian_part(prior.component(k), float(weights[k])) for k in range(2)]


def one_patch(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[AnalyticPrior, list[Part]]:
    exact, parts = mixture(shape, dtype)
    assert isinstance(exact, GaussianMixturePrior)
    return PatchMixturePrior(exact.mixture, 2, 1, dtype.is_complex), parts


def one_block(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[AnalyticPrior, list[Part]]:
    vectors = orthonormal(4, (4,), dtype, seed=3)
    variances, mean = torch.tensor([0.2, 0.4, 0.6, 0.9], dtype=REAL), 0.5 * normal(4, dtype=dtype, seed=2)
    template = Template(torch.zeros(2, 2), torch.eye(4), 9.0)
    prior = LocalWienerPrior((2, 2), mean[None], vectors[None], variances[None], template, patch=2, stride=1)
    matrix = vectors.mT @ torch.diag(variances).to(dtype) @ vectors.conj()
    return prior, [Part(1.0, real(mean[None])[0], _real_covariance(matrix))]


def _real_covariance(matrix: Tensor) -> Tensor:
    """E[(x - mu)(x - mu)^H] per real component as the covariance of interleaved real and imaginary parts."""
    if not matrix.is_complex():
        return matrix
    top = torch.stack([matrix.real, -matrix.imag], -1)
    bottom = torch.stack([matrix.imag, matrix.real], -1)
    return torch.stack([top, bottom], 1).reshape(2 * len(matrix), -1)


Make = Callable[[tuple[int, ...], torch.dtype], tuple[AnalyticPrior, list[Part]]]
CASES = [
    pytest.param(low_rank, (1, 2, 2), REAL, id="low-rank"),
    pytest.param(low_rank, (1, 1, 2), COMPLEX, id="low-rank complex"),
    pytest.param(stationary, (1, 2, 2), REAL, id="stationary"),
    pytest.param(stationary, (1, 1, 2), COMPLEX, id="stationary complex"),
    pytest.param(mixture, (1, 2, 2), REAL, id="mixture"),
    pytest.param(mixture, (1, 1, 2), COMPLEX, id="mixture complex"),
    pytest.param(one_patch, (1, 2, 2), REAL, id="patch mixture"),
    pytest.param(one_block, (1, 2, 2), REAL, id="local Wiener"),
]


@pytest.mark.parametrize("sigma", [0.6, 2.0])
@pytest.mark.parametrize(("make", "shape", "dtype"), CASES)
def test_denoiser_is_the_integral(make: Make, shape: tuple[int, ...], dtype: torch.dtype, sigma: float) -> None:
    prior, parts = make(shape, dtype)
    x = 1.5 * normal(2, *shape, dtype=dtype, seed=9)
    wanted = numerical_mean(parts, real(x), sigma)
    assert_close(real(prior(x, sigma)), wanted, rtol=0.0, atol=1e-5)
    # Negative control: sigma taken per complex value, or another covariance, is seen.
    assert float((real(prior(x, sigma * math.sqrt(2))) - wanted).abs().max()) > 1e-2


def test_one_block_has_no_taper_left() -> None:
    assert float(hann(2).min()) == pytest.approx(0.25)
    assert float(hann(8).reshape(8, 8).sum()) == pytest.approx(16)


def test_patch_of_one_pixel_by_quadrature() -> None:
    """p = 1: pixels are independent, so D is the posterior mean of the whole image."""
    mixture = LowRankMixture(
        torch.tensor([0.4, 0.6], dtype=REAL),
        torch.tensor([[-0.7], [0.8]], dtype=REAL),
        torch.ones(2, 1, 1, dtype=REAL),
        torch.tensor([[0.1], [0.3]], dtype=REAL),
        torch.zeros(2, dtype=REAL),
    )
    grid = torch.linspace(-6, 6, 40001, dtype=REAL)
    density = sum(
        w / math.sqrt(v) * torch.exp(-((grid - mu) ** 2) / (2 * v)) for w, mu, v in ((0.4, -0.7, 0.1), (0.6, 0.8, 0.3))
    )
    x = normal(1, 1, 3, 5, seed=4)
    likelihood = torch.exp(-((x.reshape(-1, 1) - grid) ** 2) / (2 * 0.4**2))
    mean = (density * likelihood * grid).sum(1) / (density * likelihood).sum(1)
    assert_close(PatchMixturePrior(mixture, 1, 1)(x, 0.4).flatten(), mean, rtol=0.0, atol=1e-7)
