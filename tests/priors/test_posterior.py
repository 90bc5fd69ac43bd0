"""The exact posterior against brute-force algebra, its own samples and numerical integration."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.operators.base import LinearOperator, Operator
from invdiff.operators.blur import GaussianBlur
from invdiff.operators.inpainting import Inpainting
from invdiff.operators.mri import CartesianMRI
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.mixture import GaussianMixturePrior
from invdiff.priors.posterior import exact_posterior
from tests.priors.models import COMPLEX, REAL, Matrix, low_rank, mixture, normal, real, real_matrix, stationary

TIGHT = {"rtol": 1e-8, "atol": 1e-8}
SHAPE = (1, 5, 4)
SIGMA = 0.3


def mri(batch: int = 1) -> CartesianMRI:
    mask = torch.ones(batch, *SHAPE[1:])
    mask[0, :, 1::2] = 0
    mask[-1, :, 0] = 0
    return CartesianMRI(mask, normal(2, *SHAPE[1:], dtype=COMPLEX, seed=3).to(torch.complex64)).double()


CASES: dict[str, tuple[LinearOperator, torch.dtype]] = {
    "blur": (GaussianBlur(1.0, shape=SHAPE), REAL),
    "inpainting": (Inpainting(torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) > 0.4), REAL),
    "mri": (mri(), COMPLEX),
    "mri, a mask each": (mri(2), COMPLEX),
    "complex matrix": (Matrix(normal(7, 20, dtype=COMPLEX), SHAPE), COMPLEX),
    "real image, complex data": (Matrix(normal(7, 20, dtype=COMPLEX), SHAPE, real_input=True), REAL),
}


def brute(prior: GaussianPrior, op: LinearOperator, y: Tensor, i: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, covariance and evidence in real coordinates, from the rows of A that are measured for item i."""
    image = SHAPE if prior.shape == SHAPE else tuple(n or 1 for n in prior.shape or ())

    def forward(x: Tensor) -> Tensor:
        if op.batch == 1:
            return op(x)
        return torch.cat([op(row.expand(op.batch, *image))[i : i + 1] for row in x])

    a = real_matrix(forward, image, prior.dtype)
    keep = torch.ones(1, *op.shape_out, dtype=torch.bool)
    if op.sampled is not None:
        keep = op.sampled[min(i, len(op.sampled) - 1)].expand(1, *op.shape_out)
    rows = (torch.stack([keep, keep], -1) if y.is_complex() else keep).flatten()
    a, data = a[rows], real(y[i : i + 1])[0, rows]
    c, mu = real_matrix(prior.cov, image, prior.dtype), real(prior.mean)[0]
    n = a @ c @ a.mT + SIGMA**2 * torch.eye(len(a), dtype=REAL)
    gain = c @ a.mT @ torch.linalg.inv(n)
    evidence = torch.distributions.MultivariateNormal(a @ mu, n, validate_args=False).log_prob(data)
    return mu + gain @ (data - a @ mu), c - gain @ a @ c, evidence


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("build", [low_rank, stationary], ids=["low-rank", "stationary"])
@pytest.mark.parametrize("case", CASES)
def test_gaussian_posterior(case: str, build: type, dense: bool) -> None:
    op, dtype = CASES[case]
    prior = build(SHAPE, dtype)
    y = op.double().simulate(prior.sample(2, 4), SIGMA)
    posterior = exact_posterior(prior, op, y, SIGMA, dense=dense)
    v = normal(2, *SHAPE, dtype=dtype, seed=6)
    for i in range(2):
        mean, cov, evidence = brute(prior, op, y, i)
        assert_close(real(posterior.mean)[i], mean, **TIGHT)
        assert_close(real(posterior.cov(v))[i], cov @ real(v)[i], **TIGHT)
        variance = cov.diagonal().reshape(20, -1).mean(1)
        assert_close(posterior.std()[i].flatten(), variance.sqrt(), **TIGHT)
        if dense:
            assert_close(posterior.log_evidence()[i], evidence, **TIGHT)


@pytest.mark.parametrize("case", ["mri, a mask each", "real image, complex data"])
def test_samples_have_mean_and_covariance(case: str) -> None:
    op, dtype = CASES[case]
    prior = low_rank(SHAPE, dtype)
    y = op.double().simulate(prior.sample(2, 4), SIGMA)
    posterior = exact_posterior(prior, op, y, SIGMA)
    n = 2000
    x = posterior.sample(n, 3)
    assert x.shape == (2, n, *SHAPE)
    for i in range(2):
        mean, cov, _ = brute(prior, op, y, i)
        off = real(x[i]) - mean
        scale = cov.diagonal().sqrt()
        # 5 standard errors: 80 means and 3200 covariances are looked at.
        assert float((off.mean(0) / scale).abs().max()) < 5 / math.sqrt(n)
        found = off.mT @ off / n
        assert float(((found - cov) / scale / scale[:, None]).abs().max()) < 5 * math.sqrt(2 / n)
    assert_close(posterior.sample(3, 3), x[:, :3])
    again = exact_posterior(prior, op, y, SIGMA, dense=False)
    assert_close(again.sample(2, 3), x[:, :2], **TIGHT)


def test_what_is_not_measured_plays_no_part() -> None:
    op, prior = mri(), low_rank(SHAPE, COMPLEX)
    y = op.simulate(prior.sample(2, 4), SIGMA)
    junk = torch.where(op.sampled, y, torch.full_like(y, 1e3))
    assert not torch.equal(junk, y)
    for kind in (prior, mixture(SHAPE, COMPLEX)):
        a, b = (exact_posterior(kind, op, data, SIGMA) for data in (y, junk))
        assert torch.equal(a.mean, b.mean)
        assert torch.equal(a.log_evidence(), b.log_evidence())


def test_nothing_given_is_changed() -> None:
    op, prior = GaussianBlur(1.0, shape=SHAPE), low_rank(SHAPE, torch.float32)
    y = op.simulate(prior.sample(1, 4), SIGMA)
    kept = y.clone()
    posterior = exact_posterior(prior, op, y, SIGMA)
    assert posterior.mean.dtype == REAL
    assert torch.equal(y, kept)
    assert prior.dtype == torch.float32
    assert all(b.dtype not in (REAL, COMPLEX) for b in op.buffers())


@pytest.mark.parametrize("case", ["blur", "mri, a mask each", "real image, complex data"])
def test_mixture_posterior_is_the_evidence_weighted_mixture(case: str) -> None:
    op, dtype = CASES[case]
    prior = mixture(SHAPE, dtype)
    y = op.double().simulate(prior.sample(2, 4), SIGMA)
    posterior = exact_posterior(prior, op, y, SIGMA)
    v = normal(2, *SHAPE, dtype=dtype, seed=6)
    for i in range(2):
        parts = [brute(prior.component(k), op, y, i) for k in range(3)]
        joint = prior.mixture.weights.log() + torch.stack([p[2] for p in parts])
        w = joint.softmax(0)
        assert_close(posterior.weights[i], w, **TIGHT)
        assert_close(posterior.log_evidence()[i], joint.logsumexp(0), **TIGHT)
        mean = sum(a * p[0] for a, p in zip(w, parts, strict=True))
        cov = sum(a * (p[1] + torch.outer(p[0] - mean, p[0] - mean)) for a, p in zip(w, parts, strict=True))
        assert_close(real(posterior.mean)[i], mean, **TIGHT)
        assert_close(real(posterior.cov(v))[i], cov @ real(v)[i], **TIGHT)
        assert_close(posterior.std()[i].flatten(), cov.diagonal().reshape(20, -1).mean(1).sqrt(), **TIGHT)


def two_pixels() -> GaussianMixturePrior:
    """Three modes in the plane."""
    means = torch.tensor([[-1.5, 0.0], [1.0, 1.0], [0.5, -1.5]], dtype=REAL).reshape(3, 1, 1, 2)
    basis = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.8, -0.6]], dtype=REAL).reshape(3, 1, 1, 1, 2)
    variances = torch.tensor([[0.5], [0.2], [0.4]], dtype=REAL)
    return GaussianMixturePrior(torch.tensor([0.3, 0.3, 0.4]), means, basis, variances, torch.tensor([0.05, 0.1, 0.02]))


def test_mixture_posterior_by_integration() -> None:
    """Two pixels seen through their sum: moments by a sum over a grid of the plane."""
    prior, op = two_pixels(), Matrix(torch.tensor([[1.0, 1.0]], dtype=REAL), (1, 1, 2))
    y = torch.tensor([[-0.6]], dtype=REAL)
    posterior = exact_posterior(prior, op, y, SIGMA)
    axis = torch.linspace(-6, 6, 1201, dtype=REAL)
    grid = torch.cartesian_prod(axis, axis)
    density = torch.zeros(len(grid), dtype=REAL)
    for k, w in enumerate(prior.mixture.weights):
        part = prior.component(k)
        c = real_matrix(part.cov, (1, 1, 2), REAL)
        shape = torch.distributions.MultivariateNormal(part.mean.flatten(), c, validate_args=False)
        density += w * shape.log_prob(grid).exp()
    likelihood = torch.exp(-0.5 * ((y - grid.sum(1)) / SIGMA) ** 2).flatten() / math.sqrt(2 * math.pi * SIGMA**2)
    weight = density * likelihood
    evidence = weight.sum() * 0.01**2
    weight = weight / weight.sum()
    mean = weight @ grid
    cov = (weight[:, None] * (grid - mean)).mT @ (grid - mean)
    assert float(posterior.weights.sort()[0][0, -2]) > 0.2, "several modes must matter, or this tests nothing"
    assert_close(posterior.mean.flatten(), mean, rtol=1e-6, atol=1e-6)
    assert_close(posterior.log_evidence()[0], evidence.log(), rtol=1e-6, atol=1e-6)
    assert_close(posterior.std().flatten(), cov.diagonal().sqrt(), rtol=1e-6, atol=1e-6)
    for v in torch.eye(2, dtype=REAL):
        assert_close(posterior.cov(v.reshape(1, 1, 1, 2)).flatten(), cov @ v, rtol=1e-6, atol=1e-6)
    x = posterior.sample(20000, 1)[0].flatten(1)
    # 4 standard errors; covariances of several modes have heavier tails than one Gaussian.
    assert float((x.mean(0) - mean).abs().max()) < 4 * float(cov.diagonal().amax().sqrt()) / math.sqrt(20000)
    assert_close(x.mT.cov(), cov, rtol=0.0, atol=0.06 * float(cov.amax()))


def test_denoising_is_the_prior_itself() -> None:
    """With A = I the posterior mean is D, and its covariance sigma^2 J."""
    prior = mixture(SHAPE)
    op = Matrix(torch.eye(20, dtype=REAL), SHAPE)
    x, v = normal(2, *SHAPE, seed=9), normal(2, *SHAPE, seed=6)
    posterior = exact_posterior(prior, op, x.flatten(1), 0.7)
    assert_close(posterior.mean, prior(x, 0.7), **TIGHT)
    assert_close(posterior.weights, prior.responsibilities(x, 0.7), **TIGHT)
    assert_close(posterior.cov(v), prior.posterior_cov(x, 0.7, v), **TIGHT)


def test_samples_of_a_mixture_do_not_depend_on_the_batch() -> None:
    prior, op = two_pixels(), Matrix(torch.tensor([[1.0, 1.0]], dtype=REAL), (1, 1, 2))
    y = torch.tensor([[-0.6], [0.4]], dtype=REAL)
    both = exact_posterior(prior, op, y, SIGMA).sample(5, 7)
    assert_close(exact_posterior(prior, op, y[:1], SIGMA).sample(5, 7), both[:1])
    assert_close(exact_posterior(prior, op, y, SIGMA).sample(2, 7), both[:, :2])
    assert not torch.equal(both[0], both[1])


def test_large_problem_by_conjugate_gradients() -> None:
    """A size no matrix would fit; the stationary prior and a periodic blur share eigenvectors, so the mean is known."""
    shape = (1, 63, 64)
    op = GaussianBlur(1.0, shape=shape, padding="circular").double()
    prior = stationary(shape)
    y = op.simulate(prior.sample(1, 4), SIGMA)
    posterior = exact_posterior(prior, op, y, SIGMA)
    impulse = torch.zeros(1, *shape, dtype=REAL)
    impulse[..., 0, 0] = 1
    k, p = torch.fft.fft2(op(impulse)), prior.covariance.power
    off = torch.fft.fft2(y - op(prior.mean))
    closed = prior.mean + torch.fft.ifft2(p * k.conj() / (p * k.abs() ** 2 + SIGMA**2) * off).real
    assert_close(posterior.mean, closed, **TIGHT)
    with pytest.raises(ValueError, match="determinant"):
        posterior.log_evidence()


def refused() -> dict[str, tuple[dict[str, object], str]]:
    op, prior = GaussianBlur(1.0, shape=SHAPE), low_rank()
    y = torch.zeros(1, *SHAPE)
    good: dict[str, object] = {"prior": prior, "op": op, "y": y, "sigma_y": SIGMA}
    wide = GaussianBlur(1.0, shape=(1, 100, 100))
    return {
        "sigma_y must be positive": (good | {"sigma_y": 0.0}, ""),
        "takes": (good | {"y": y[0]}, ""),
        "must agree": (good | {"prior": low_rank((1, 4, 4))}, ""),
        "needs dense=True": (good | {"prior": mixture(SHAPE), "dense": False}, ""),
        "too many": (good | {"op": wide, "prior": mixture((1, 100, 100)), "y": torch.zeros(1, 1, 100, 100)}, ""),
    }


@pytest.mark.parametrize("says", ["sigma_y must be positive", "takes", "must agree", "needs dense=True", "too many"])
def test_refusals(says: str) -> None:
    with pytest.raises(ValueError, match=says):
        exact_posterior(**refused()[says][0])


def test_std_of_a_large_image_is_refused() -> None:
    shape = (1, 100, 100)
    posterior = exact_posterior(stationary(shape), GaussianBlur(1.0, shape=shape), torch.zeros(1, *shape), SIGMA)
    with pytest.raises(ValueError, match="from samples"):
        posterior.std()


class Square(Operator):
    def forward(self, x: Tensor) -> Tensor:
        return x**2


def test_kinds_refused() -> None:
    with pytest.raises(TypeError, match="linear operator"):
        exact_posterior(low_rank(), Square(SHAPE, SHAPE), torch.zeros(1, *SHAPE), SIGMA)
    with pytest.raises(TypeError, match="Gaussian-mixture priors"):
        exact_posterior(object(), GaussianBlur(1.0, shape=SHAPE), torch.zeros(1, *SHAPE), SIGMA)


def test_no_convergence_is_said() -> None:
    """Eigenvalues spread over eighteen decades: more steps than conjugate gradients are given."""
    shape = (1, 10, 12)
    prior = GaussianPrior.low_rank(
        torch.zeros(shape, dtype=REAL), torch.zeros(0, *shape, dtype=REAL), torch.ones(0), 1.0
    )
    op = Matrix(torch.diag(torch.logspace(0, 9, 120, dtype=REAL)), shape)
    with pytest.raises(RuntimeError, match="sigma_y is too small"):
        exact_posterior(prior, op, normal(1, 120), 1e-3, dense=False)
