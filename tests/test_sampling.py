"""Samplers against the closed-form flow of a Gaussian, and the promises of every sampler."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import invdiff
from invdiff.diffusion.step import ancestral, ddim
from invdiff.priors.counted import Counted
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.hybrid import HybridPrior
from invdiff.random import Noise, streams
from invdiff.sampling import SAMPLERS, sample
from tests.priors.models import COMPLEX, REAL, low_rank, stationary

SIZE = 64


def spectrum() -> GaussianPrior:
    """Variances from 4 to 1e-4, evenly spaced in their logarithm, one for each pixel."""
    variances = torch.logspace(math.log10(4), -4, SIZE, dtype=REAL)
    basis = torch.eye(SIZE, dtype=REAL).reshape(SIZE, 1, 1, SIZE)
    return GaussianPrior.low_rank(torch.zeros(1, 1, SIZE, dtype=REAL), basis, variances)


def error(prior: Any, n: int = 200, **options: Any) -> float:
    """RMS distance of draws from what the ODE, solved in closed form, makes of the same noise."""
    gaussian = spectrum()
    noise, _ = streams(0, n)
    exact = gaussian.flow(80 * noise.like(torch.zeros(n, 1, 1, SIZE, dtype=REAL)), 80.0, 0.0)
    return float((sample(prior, n, (1, 1, SIZE), seed=0, dtype=REAL, **options) - exact).square().mean().sqrt())


# RMS errors found before with these levels (80 to 0.002, rho = 7) on a spectrum with the same ends: how its variances
# are spaced between them changes all numbers alike, by less than a factor of two.
KNOWN = {
    10: {"euler": 0.237, "heun": 0.156, "2m": 0.153},
    18: {"euler": 0.134, "heun": 0.040, "2m": 0.045},
    36: {"euler": 0.067, "heun": 0.0089, "2m": 0.0094},
}


@pytest.mark.parametrize("steps", KNOWN)
def test_accuracy_is_that_of_the_order(steps: int) -> None:
    errors = {method: error(spectrum(), method=method, steps=steps) for method in SAMPLERS}
    ratios = [errors[method] / KNOWN[steps][method] for method in SAMPLERS]
    assert 0.5 < min(ratios)
    assert max(ratios) < 1
    assert max(ratios) / min(ratios) < 1.15
    assert errors["euler"] > 1.3 * max(errors["heun"], errors["2m"])


def test_orders_show_when_steps_double() -> None:
    for method, order in (("euler", 1), ("heun", 2), ("2m", 2)):
        ratio = error(spectrum(), method=method, steps=72) / error(spectrum(), method=method, steps=144)
        assert ratio == pytest.approx(2**order, rel=0.15)


def test_evaluations() -> None:
    for method, wanted in (("euler", 10), ("2m", 10), ("heun", 19)):
        counted = Counted(spectrum())
        sample(counted, 2, method=method, steps=10, seed=0)
        assert counted.nfe == wanted


@pytest.mark.parametrize(("method", "switch"), [("2m", 1.0), ("2m", 4.0), ("heun", 1.0)])
def test_teleportation_reaches_what_the_whole_ode_reaches(method: str, switch: float) -> None:
    """To 1e-4 in 350 levels; both are then within 1e-4 of the closed form."""
    gaussian = spectrum()
    prior = HybridPrior(gaussian, gaussian, switch)
    options: dict[str, Any] = {"method": method, "steps": 350, "seed": 0, "dtype": REAL}
    counted = Counted(prior)
    short, whole = sample(counted, 20, **options), sample(prior, 20, teleport=False, **options)
    assert float((short - whole).square().mean().sqrt()) < 1e-4
    assert error(prior, 20, method=method, steps=350) < 1e-4
    assert counted.nfe < 350 * (2 if method == "heun" else 1) * 0.8
    assert counted.skipped > 70


def test_a_wrong_closed_form_does_not_reach_it() -> None:
    gaussian = spectrum()
    half = GaussianPrior(
        gaussian.mean[0],
        type(gaussian.covariance)(
            gaussian.covariance.basis.reshape(SIZE, 1, 1, SIZE), gaussian.covariance.spectrum[0, :-1] / 2, 0.0
        ),
    )
    assert error(HybridPrior(gaussian, half, 1.0), 20, steps=350) > 1e-2


ANCESTRAL = {"method": "euler", "eta": 1.0, "sigma_max": 30.0, "sigma_min": 0.03}


@pytest.mark.parametrize("dtype", [REAL, COMPLEX])
@pytest.mark.parametrize("options", [{}, ANCESTRAL], ids=["2m", "ancestral"])
def test_draws_have_the_variances_of_the_prior(dtype: torch.dtype, options: dict[str, Any]) -> None:
    prior = low_rank(dtype=dtype)
    x = sample(prior, 1500, seed=0, dtype=REAL, **({"steps": 80} | options))
    assert x.dtype == dtype
    parts = torch.view_as_real(x - prior.mean).flatten(1) if dtype.is_complex else (x - prior.mean).flatten(1)
    variance = parts.square().mean(0).reshape(1, 5, 4, -1).mean(-1)
    # four standard errors of sqrt(2 / 1500) = 3.7 %, and some percent for the ancestral sampler, of first order
    assert_close(variance, prior.covariance.variance(), rtol=0.2, atol=0.0)


def test_full_noise_is_the_ancestral_sampler() -> None:
    x, x0 = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=REAL), torch.zeros(2, 1, 3, 3)
    share = math.sqrt(1 - (0.4 / 1.5) ** 2)
    steps = (
        ddim(x, x0, x0, 1.5, 0.4, share, Noise([1, 2])),
        ancestral(x, x0, 1.5, 0.4, Noise([1, 2])),
    )
    assert_close(*steps)


@pytest.mark.parametrize("method", SAMPLERS)
def test_images_do_not_depend_on_their_batch(method: str) -> None:
    prior = stationary()
    three = sample(prior, 3, steps=12, method=method, seed=5, dtype=REAL)
    assert_close(three[:2], sample(prior, 2, steps=12, method=method, seed=5, dtype=REAL), rtol=1e-12, atol=1e-12)
    assert torch.equal(three, sample(prior, 3, steps=12, method=method, seed=5, dtype=REAL))
    assert not torch.equal(three, sample(prior, 3, steps=12, method=method, seed=6, dtype=REAL))


def test_the_callback_sees_every_level() -> None:
    seen: list[dict[str, Any]] = []
    state = torch.random.get_rng_state()
    out = invdiff.sample(stationary(), 2, steps=5, seed=0, callback=seen.append)
    assert [(s["step"], s["steps"]) for s in seen] == [(i, 5) for i in range(5)]
    assert seen[0]["sigma"] == pytest.approx(80.0)
    assert seen[-1]["sigma"] == pytest.approx(0.002)
    assert torch.equal(seen[-1]["x"], out)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_levels_begin_where_asked() -> None:
    seen: list[dict[str, Any]] = []
    gaussian = spectrum()
    options: dict[str, Any] = {"steps": 4, "seed": 0, "callback": seen.append, "teleport": False}
    sample(HybridPrior(gaussian.describe(sigma_max=9.0), spectrum(), 1.0), 1, **options)
    sample(gaussian, 1, **options)
    sample(gaussian, 1, sigma_max=3.0, sigma_min=0.5, **options)
    levels = [s["sigma"] for s in seen]
    assert levels[::4] == pytest.approx([80.0, 9.0, 3.0])  # the hybrid prior names its own beginning
    assert levels[-1] == pytest.approx(0.5)


def test_a_state_that_is_not_finite_stops_the_run() -> None:
    class Broken:
        def __init__(self) -> None:
            self.prior = stationary()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.prior, name)

        def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
            return self.prior(x, sigma) * (math.nan if float(sigma) < 1 else 1.0)

    with pytest.raises(invdiff.Diverged, match="step"):
        sample(Broken(), 1, steps=9, seed=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "2n"}, "2m"),
        ({"n": 0}, "n must"),
        ({"eta": 0.5}, "euler"),
        ({"eta": 1.5, "method": "euler"}, "eta"),
        ({"steps": 0}, "steps"),
        ({"grid": "karas"}, "karras"),
        ({"shape": (1, 5, 5)}, "shape must be"),
        ({"sigma_max": 0.001}, "sigma_max"),
    ],
)
def test_what_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sample(low_rank(), **({"n": 1} | options))


def test_a_prior_of_any_size_needs_a_shape() -> None:
    gaussian = low_rank()
    gaussian.shape = None
    with pytest.raises(ValueError, match="shape must be"):
        sample(gaussian, 1)
