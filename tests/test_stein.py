"""Stein's identity holds for draws of the posterior, and not for what samplers get wrong."""

from typing import Any

import pytest
import torch
from torch import Tensor

from invdiff.operators import CartesianMRI, GaussianBlur, RealToComplex
from invdiff.operators.base import LinearOperator
from invdiff.priors import exact_posterior
from invdiff.priors.gaussian import GaussianPrior
from invdiff.stein import kernel_stein, posterior_score, stein_variance

SHAPE, SIGMA_Y, DRAWS = (1, 6, 5), 0.1, 400


def operators() -> dict[str, LinearOperator]:
    mri = CartesianMRI(torch.tensor([1, 0, 1, 1, 0]), shape=(6, 5))
    real: Any = mri @ RealToComplex(SHAPE)
    return {"blur": GaussianBlur(0.8, SHAPE, size=3), "MRI": mri, "real image behind MRI": real}


def problem(name: str) -> tuple[GaussianPrior, LinearOperator, Tensor, Tensor]:
    """Prior, operator, y and exact draws."""
    op = operators()[name]
    dtype = torch.complex64 if name == "MRI" else torch.float32
    ky, kx = torch.meshgrid(torch.arange(6) - 3, torch.arange(5) - 2, indexing="ij")
    spectrum = 0.05 + torch.exp(-(ky**2 + kx**2) / 4.0)[None]
    prior = GaussianPrior.stationary(torch.full(SHAPE, 0.3, dtype=dtype), spectrum)
    y = op.simulate(prior.sample(1, 1), SIGMA_Y, seed=2)
    return prior, op, y, exact_posterior(prior, op, y, SIGMA_Y).sample(DRAWS, 3)[0].to(dtype)


def statistics(samples: Tensor, name: str) -> tuple[float, float]:
    """Kernel discrepancy in its standard errors, and the ratio of variances."""
    prior, op, y, _ = problem(name)
    scores = posterior_score(samples, y, op, prior, SIGMA_Y, sigma=0.01)
    discrepancy = kernel_stein(samples, scores)
    return discrepancy.value / discrepancy.error, stein_variance(samples, scores).value


@pytest.mark.parametrize("name", operators())
def test_draws_fulfil_the_identity(name: str) -> None:
    kernel, variance = statistics(problem(name)[3], name)
    assert abs(kernel) < 3  # three standard errors
    assert variance == pytest.approx(1, abs=0.05)  # 400 draws of 30 values or more: 4 standard errors


@pytest.mark.parametrize("name", operators())
def test_planted_faults_show(name: str) -> None:
    """A tenth too narrow; ignoring the data; shifted by half of the spread, which only the kernel sees."""
    prior, _, _, draws = problem(name)
    mean = draws.mean(0)
    assert statistics(mean + 0.9 * (draws - mean), name)[1] == pytest.approx(0.81, abs=0.05)
    assert statistics(prior.sample(DRAWS, 4), name)[1] > 3
    kernel, variance = statistics(draws + 0.5 * draws.abs().std(), name)
    assert kernel > 5
    assert variance == pytest.approx(1, abs=0.1)
    assert statistics(mean + 0.5 * (draws - mean), name)[0] > 5


def test_the_kernel_is_differentiated_rightly() -> None:
    """u against automatic differentiation of k, in double precision, for two of three samples."""
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    s = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gaps = torch.stack([(x[i] - x[j]).square().sum() for i in range(3) for j in range(3) if i != j])
    width = gaps.median()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (width + (a - b).square().sum()).rsqrt()

    total = 0.0
    for i in range(3):
        for j in range(3):
            if i == j:
                continue
            first, second = (torch.func.grad(kernel, argnums=k)(x[i], x[j]) for k in (0, 1))
            mixed = torch.func.jacrev(torch.func.grad(kernel, argnums=1))(x[i], x[j]).trace()
            total += float(s[i] @ s[j] * kernel(x[i], x[j]) + s[i] @ second + s[j] @ first + mixed)
    assert kernel_stein(x, s).value == pytest.approx(total / 6, rel=1e-10)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="three samples"):
        kernel_stein(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="a score for each"):
        stein_variance(torch.ones(4, 3), torch.ones(3, 3))
