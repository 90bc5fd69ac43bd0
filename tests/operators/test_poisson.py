"""The squared norm is the Poisson likelihood: value, gradient, and the posterior that solvers reach with it."""

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import Anscombe, Identity, PoissonDeviance, Transmission, anscombe
from invdiff.priors.gaussian import GaussianPrior
from invdiff.units import Units

COUNTS = torch.tensor([[0.0, 1.0, 3.0, 40.0, 1e5]], dtype=torch.float64)


@pytest.mark.parametrize("ratio", [1e-2, 0.5, 0.94, 0.96, 1 - 1e-9, 1.0, 1 + 1e-6, 1.04, 1.06, 3.0, 1e3])
def test_half_its_square_is_the_likelihood(ratio: float) -> None:
    """Up to a constant, with the same gradient, near the counts (series) and far from them."""
    x = ((COUNTS + (COUNTS == 0)) * ratio).requires_grad_()
    half = PoissonDeviance(COUNTS)(x).square() / 2
    saturated = torch.special.xlogy(COUNTS, COUNTS) - COUNTS
    exact = x - torch.special.xlogy(COUNTS, x) + saturated
    torch.testing.assert_close(half, exact, rtol=1e-7, atol=1e-9 * float(COUNTS.max()))  # exact cancels, half does not
    torch.testing.assert_close(torch.autograd.grad(half.sum(), x)[0], (1 - COUNTS / x).detach(), rtol=1e-7, atol=1e-9)


def test_single_precision_is_exact_to_rounding() -> None:
    x = torch.cat([COUNTS + (COUNTS == 0)] * 4) * torch.tensor([[0.3], [0.949], [1.051], [2.0]], dtype=torch.float64)
    op = PoissonDeviance(COUNTS.expand(4, -1))
    single = PoissonDeviance(COUNTS.expand(4, -1).float())
    torch.testing.assert_close(single(x.float()).double(), op(x), rtol=3e-6, atol=1e-6)


def test_below_zero_it_points_back() -> None:
    """There is no Poisson law of a negative mean: a line goes on with a finite gradient that leads upwards."""
    op = PoissonDeviance(torch.tensor([[0.0, 2.0]]))
    x = torch.tensor([[-1.0, -1.0]])
    pull = op.vjp(x, op(x))
    assert bool(pull.isfinite().all() and (op(x) < 0).all() and (pull < 0).all())  # descent raises x
    assert bool((op(x - 1) < op(x)).all())


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(TypeError, match=r"counts\.float\(\)"):
        PoissonDeviance(torch.ones(1, 3, dtype=torch.int64))
    for bad in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="finite and 0 or more"):
            PoissonDeviance(torch.tensor([[1.0, bad]]))


def posterior_mean(counts: Tensor, photons: float, mean: float, std: float) -> Tensor:
    """E[x | c] for c ~ Poisson(photons exp(-x)), x ~ N(mean, std^2), by the trapezoidal rule on 4001 points."""
    x = torch.linspace(mean - 6 * std, mean + 6 * std, 4001, dtype=torch.float64)
    expected = photons * torch.exp(-x)
    c = counts.double()[..., None]
    log = c * expected.log() - expected - (x - mean) ** 2 / (2 * std**2)
    weight = torch.softmax(log, -1)
    return (weight * x).sum(-1)


def test_the_posterior_of_few_photons_is_reached() -> None:
    """Three photons behind each pixel: the mean over pixels is exact with it, and off with stabilised counts.

    Attenuations are independent, so that each posterior is an integral over a line.
    """
    shape, photons, mean, std = (1, 24, 24), 8.0, 1.0, 0.5
    prior = GaussianPrior.stationary(torch.full(shape, mean), torch.full(shape, std**2))
    transmission = Transmission(Identity(shape), photons)
    truth = prior.sample(1, 0)
    counts = transmission.simulate(truth, seed=1).expand(8, -1, -1, -1)  # eight draws for the same counts
    exact = posterior_mean(counts, photons, mean, std)
    options = {"sigma_y": 1.0, "seed": 0, "steps": 20, "inner": 12, "scale": Units(torch.ones(8), torch.zeros(8))}
    poisson = invdiff.solve(
        torch.zeros_like(counts), PoissonDeviance(counts) @ transmission, prior, "pnp-dm", **options
    )
    gaussian = invdiff.solve(anscombe(counts), Anscombe(shape) @ transmission, prior, "pnp-dm", **options)
    off, rough = (abs(float((r.x.double() - exact).mean())) for r in (poisson, gaussian))
    monte_carlo = std / (8 * 24 * 24) ** 0.5  # standard error of that mean, at most
    assert off < 5 * monte_carlo + 0.01, (off, rough)
    assert rough > 2 * off, (off, rough)
