"""The mixture prior against quadrature, dense algebra and its own score."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.mixture import GaussianMixturePrior
from tests.priors.models import COMPLEX, KINDS, REAL, low_rank, mixture, normal, orthonormal, real, real_matrix

TIGHT = {"rtol": 1e-9, "atol": 1e-10}
SHAPE = (1, 3, 4)


def scalar_mixture(dtype: torch.dtype = REAL) -> GaussianMixturePrior:
    """Three well-separated modes of one pixel; the first has its variance in the basis, the others in the floor."""
    means = torch.tensor([-2.0, 0.3, 3.0], dtype=REAL).to(dtype).reshape(3, 1, 1, 1)
    if dtype.is_complex:
        means = means * torch.tensor([1, 1j, -0.5 + 1j], dtype=dtype).reshape(3, 1, 1, 1)
    variances = torch.tensor([[0.04], [0.5], [0.2]], dtype=REAL)
    return GaussianMixturePrior(
        torch.tensor([0.5, 0.2, 0.3]), means, torch.ones(3, 1, 1, 1, 1, dtype=dtype), variances, torch.zeros(3)
    )


@pytest.mark.parametrize("sigma", [0.03, 0.3, 1.0, 10.0])
def test_denoiser_is_the_posterior_mean_by_quadrature(sigma: float) -> None:
    """One real pixel: integrals of x0 p(x0) N(x; x0, sigma^2) on a fine grid."""
    prior = scalar_mixture()
    m = prior.mixture
    grid = torch.linspace(-8, 8, 200001, dtype=REAL)
    normals = [torch.distributions.Normal(mu, v.sqrt()) for mu, v in zip(m.means[:, 0], m.variances[:, 0], strict=True)]
    density = sum(w * n.log_prob(grid).exp() for w, n in zip(m.weights, normals, strict=True))
    x = torch.linspace(-4, 5, 13, dtype=REAL)
    weight = density * torch.exp(-0.5 * ((x[:, None] - grid) / sigma) ** 2)
    mean = (weight * grid).sum(1) / weight.sum(1)
    assert_close(prior(x.reshape(-1, 1, 1, 1), sigma).flatten(), mean, rtol=1e-7, atol=1e-7)
    variance = (weight * (grid - mean[:, None]) ** 2).sum(1) / weight.sum(1)
    cov = prior.posterior_cov(x.reshape(-1, 1, 1, 1), sigma, torch.ones(13, 1, 1, 1, dtype=REAL))
    assert_close(cov.flatten(), variance, rtol=1e-5, atol=1e-9)


def test_complex_denoiser_by_quadrature() -> None:
    """One complex pixel: circular components, sigma per real component."""
    prior, sigma = scalar_mixture(COMPLEX), 0.6
    m = prior.mixture
    axis = torch.linspace(-7, 7, 1401, dtype=REAL)
    grid = torch.complex(axis[:, None].expand(1401, 1401), axis[None].expand(1401, 1401))
    density = sum(
        w / v * torch.exp(-0.5 * (grid - mu).abs() ** 2 / v)
        for w, mu, v in zip(m.weights, m.means[:, 0], m.variances[:, 0], strict=True)
    )
    for x in (0.5 + 0.5j, -2.0 + 1j, -1.0 - 1j):
        weight = density * torch.exp(-0.5 * (grid - x).abs() ** 2 / sigma**2)
        mean = (weight * grid).sum() / weight.sum()
        assert_close(prior(torch.full((1, 1, 1, 1), x, dtype=COMPLEX), sigma).reshape(()), mean, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("dtype", KINDS)
def test_density_and_tweedie(dtype: torch.dtype) -> None:
    prior = mixture(SHAPE, dtype)
    x = normal(4, *SHAPE, dtype=dtype, seed=9).requires_grad_()
    dense = []
    for k in range(3):
        part = prior.component(k)
        c = real_matrix(part.cov, SHAPE, dtype)
        c = c + 0.25 * torch.eye(len(c), dtype=REAL)
        dense.append(
            torch.distributions.MultivariateNormal(real(part.mean)[0], c, validate_args=False).log_prob(real(x))
        )
    joint = torch.stack(dense, 1) + prior.mixture.weights.log()
    assert_close(prior.log_density(x, 0.5), joint.logsumexp(1), **TIGHT)
    assert_close(prior.responsibilities(x, 0.5), joint.softmax(1), **TIGHT)
    (score,) = torch.autograd.grad(prior.log_density(x, 0.5).sum(), x)
    assert_close(x + 0.25 * score, prior(x, 0.5), **TIGHT)


@pytest.mark.parametrize("dtype", KINDS)
def test_denoiser_is_the_weighted_mean_of_its_components(dtype: torch.dtype) -> None:
    prior = mixture(SHAPE, dtype)
    x = normal(4, *SHAPE, dtype=dtype, seed=9)
    sigma = torch.tensor([0.1, 0.5, 2.0, 30.0], dtype=REAL)
    parts = torch.stack([prior.component(k)(x, sigma) for k in range(3)], 1)
    weights = prior.responsibilities(x, sigma)
    assert float(weights[2:].min()) > 1e-2, "the components must compete, or this tests nothing"
    assert_close(prior(x, sigma), (weights[:, :, None, None, None] * parts).sum(1), **TIGHT)


@pytest.mark.parametrize("dtype", KINDS)
def test_vjp(dtype: torch.dtype) -> None:
    prior = mixture(SHAPE, dtype)
    x = normal(2, *SHAPE, dtype=dtype, seed=9).requires_grad_()
    v = normal(2, *SHAPE, dtype=dtype, seed=10)
    sigma = torch.tensor([0.4, 1.0], dtype=REAL)
    assert torch.autograd.gradcheck(lambda x: prior(x, sigma), x)
    (pull,) = torch.autograd.grad(prior(x, sigma), x, v)
    assert_close(prior.vjp(x.detach(), sigma, v), pull, **TIGHT)
    one = real_matrix(lambda v: prior.vjp(x[:1].detach().expand_as(v), 0.4, v), SHAPE, dtype)
    assert_close(one, one.mT, **TIGHT)  # a covariance over the reals


def test_one_component_is_a_gaussian() -> None:
    gauss = low_rank(SHAPE)
    c = gauss.covariance
    prior = GaussianMixturePrior(
        torch.ones(1),
        gauss.mean,
        c.basis.reshape(1, 3, *SHAPE),
        c.spectrum[:, :-1],
        c.spectrum[0, -1:],
    )
    x = normal(2, *SHAPE, seed=9)
    assert_close(prior(x, 0.5), gauss(x, 0.5), **TIGHT)
    assert_close(prior.log_density(x, 0.5), gauss.log_density(x, 0.5), **TIGHT)


def test_rank_zero_is_isotropic() -> None:
    prior = GaussianMixturePrior(
        torch.tensor([0.4, 0.6]),
        normal(2, *SHAPE),
        torch.zeros(2, 0, *SHAPE),
        torch.zeros(2, 0),
        torch.tensor([0.5, 2.0]),
    )
    x = normal(3, *SHAPE, seed=9)
    off = ((x[:, None] - prior.mixture.means.reshape(2, *SHAPE)) ** 2).flatten(2).sum(2)
    total = torch.tensor([0.75, 2.25], dtype=REAL)
    w = (torch.tensor([0.4, 0.6], dtype=REAL).log() - 0.5 * off / total - 6 * total.log()).softmax(1)
    assert_close(prior.responsibilities(x, 0.5), w, rtol=1e-6, atol=1e-7)  # the weights came in single precision
    assert prior.sample(4, 0).shape == (4, *SHAPE)


def test_subspace_mixture_closed_form() -> None:
    """Zero means, no floor, unit variances: w_k from phi |U_k^H x|^2, phi = 1 / (2 sigma^2 (1 + sigma^2)).

    Source: Wang et al., arXiv 2409.02426.
    """
    bases = torch.stack([orthonormal(2, SHAPE, seed=k) for k in range(3)])
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=REAL)
    prior = GaussianMixturePrior(weights, torch.zeros(3, *SHAPE), bases, torch.ones(3, 2), torch.zeros(3))
    x, sigma = normal(4, *SHAPE, seed=9), 0.5
    z = torch.einsum("krd,bd->bkr", bases.flatten(2), x.flatten(1))
    w = (weights.log() + (z**2).sum(2) / (2 * sigma**2 * (1 + sigma**2))).softmax(1)
    closed = torch.einsum("bk,bkr,krd->bd", w, z, bases.flatten(2)) / (1 + sigma**2)
    assert_close(prior(x, sigma).flatten(1), closed, **TIGHT)


def test_far_and_faint_stay_finite() -> None:
    """Log-densities of -1e12 still give weights, in single precision input too."""
    prior = scalar_mixture()
    x = torch.tensor([-2.0, 1e3, 0.3], dtype=torch.float32).reshape(3, 1, 1, 1)
    out = prior(x, 1e-3)
    assert out.dtype == torch.float32
    assert_close(out, x, rtol=1e-4, atol=1e-3)
    assert torch.isfinite(prior.vjp(x, 1e-3, torch.ones_like(x))).all()


def test_single_precision_input_is_as_good() -> None:
    prior = mixture((1, 16, 16), spread=0.05)
    x = (prior.sample(4, 1) + 0.01 * normal(4, 1, 16, 16)).float()
    assert_close(prior(x, 0.01), prior(x.double(), 0.01).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", KINDS)
def test_samples(dtype: torch.dtype) -> None:
    prior = scalar_mixture(dtype)
    x, label = prior.labelled_sample(20000, 4)
    m = prior.mixture
    # 4 standard errors of the shares and of the mean.
    share = torch.bincount(label, minlength=3) / 20000
    assert_close(share.double(), m.weights, rtol=0.0, atol=4 * 0.5 / math.sqrt(20000))
    assert_close(x.mean(), (m.weights * m.means[:, 0]).sum(), rtol=0.0, atol=4 * 2.5 / math.sqrt(20000))
    for k in range(3):
        spread = (x[label == k] - m.means[k]).abs().square().mean() / (2 if dtype.is_complex else 1)
        assert_close(spread, m.variances[k, 0], rtol=0.08, atol=0.0)
    assert_close(prior.sample(3, 5)[:2], prior.sample(2, 5))


def test_moves() -> None:
    prior = mixture(SHAPE, COMPLEX)
    x = normal(2, *SHAPE, dtype=COMPLEX, seed=9)
    wanted = prior(x, 0.5)
    assert_close(prior.to(torch.float32)(x, 0.5), wanted, rtol=1e-4, atol=1e-4)


GOOD = {
    "weights": torch.tensor([0.5, 0.5]),
    "means": torch.zeros(2, *SHAPE),
    "bases": orthonormal(2, SHAPE).expand(2, 2, *SHAPE),
    "variances": torch.ones(2, 2),
    "floors": torch.zeros(2),
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": torch.tensor([0.5, 0.6])}, "sum to 1"),
        ({"weights": torch.tensor([1.5, -0.5])}, "0 or more"),
        ({"means": torch.zeros(2, 1, 4, 4)}, "means must be"),
        ({"variances": torch.ones(2, 3)}, "must be"),
        ({"floors": torch.tensor([0.0, -1.0])}, "0 or more"),
        ({"bases": torch.ones(2, 2, *SHAPE)}, "not orthonormal"),
    ],
)
def test_refusals(change: dict[str, Tensor], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        GaussianMixturePrior(**{**GOOD, **change})


def test_component_is_a_prior() -> None:
    prior = GaussianMixturePrior(**GOOD)
    assert isinstance(prior.component(0), GaussianPrior)
    assert len(prior) == 2
    assert all(a <= b for a, b in itertools.pairwise(prior.range))
