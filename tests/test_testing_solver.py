"""check_solver passes exact draws, and catches each planted fault by the measure that is made for it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from invdiff.linalg import cg
from invdiff.priors.gaussian_posterior import GaussianPosterior
from invdiff.priors.mixture_posterior import MixturePosterior
from invdiff.priors.posterior import exact_posterior
from invdiff.shapes import over
from invdiff.testing import PROBLEMS, SolverReport, check_operator, check_prior, check_solver
from invdiff.testing_problems import directions, problem
from invdiff.testing_report import Row
from invdiff.testing_solver import compare, simulate

N, L = 48, 19
LIMIT = 0.01 / 48  # of each p-value, as check_solver has it for eight problems
Posterior = GaussianPosterior | MixturePosterior


def exact(posterior: Posterior, name: str) -> Tensor:
    return posterior.sample(L, 5)


def prior_only(posterior: Posterior, name: str) -> Tensor:
    return problem(name).prior.sample(N * L, 6).unflatten(0, (N, L))


def uncorrelated(posterior: Posterior, name: str) -> Tensor:
    """The right mean and the right spread of each pixel."""
    white = torch.randn(N, L, *posterior.mean.shape[1:], generator=torch.Generator().manual_seed(7))
    return posterior.mean[:, None] + posterior.std()[:, None] * white


def wide(posterior: Posterior, name: str) -> Tensor:
    mean = posterior.mean[:, None]
    return mean + 1.2 * (posterior.sample(L, 5) - mean)


def shifted(posterior: Posterior, name: str) -> Tensor:
    return posterior.sample(L, 5) + 0.6 * posterior.std()[:, None]


def row(sampler: Callable[[Posterior, str], Tensor], name: str) -> Row:
    setting = problem(name)
    truth, y = simulate(setting, N, 3)
    draws = sampler(exact_posterior(setting.prior, setting.op, y, setting.sigma_y), name)
    return compare(name, truth, y, draws.to(truth.dtype))


@pytest.mark.parametrize("name", PROBLEMS)
def test_exact_draws_pass(name: str) -> None:
    found = row(exact, name)
    assert found.failures("posterior", LIMIT) == []
    for part in ("measured", "unmeasured"):
        assert found.mean[part].value < 0.13  # the root of a mean square, at most 4 standard errors of 0.004
        assert found.spread[part].value == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("name", ["Gaussian, blur", "mixture, MRI"])
def test_a_sampler_that_ignores_the_data_passes_intervals_and_pixels_alone(name: str) -> None:
    found = row(prior_only, name)
    assert min(found.p["coverage 50%"], found.p["coverage 90%"], found.p["pixels"], found.p["prior"]) > LIMIT
    assert max(found.p["likelihood"], found.p["TARP"]) < 1e-9
    assert found.mean["measured"].value > 1
    assert found.spread["measured"].value > 1.5


def test_right_marginals_without_correlation_pass_intervals_and_pixels_alone() -> None:
    found = row(uncorrelated, "Gaussian, blur")
    assert min(found.p["coverage 50%"], found.p["coverage 90%"], found.p["pixels"], found.p["TARP"]) > LIMIT
    assert found.p["likelihood"] < 1e-9
    assert found.mean["unmeasured"].value < 0.3
    assert found.spread["measured"].value > 1.1


def test_a_spread_twenty_percent_too_wide_shows_everywhere_but_in_single_pixels() -> None:
    found = row(wide, "Gaussian, inpainting")
    assert max(found.mean[part].value for part in found.mean) < 0.1
    assert found.spread["measured"].value == pytest.approx(1.2, abs=0.04)
    assert found.spread["unmeasured"].value == pytest.approx(1.2, abs=0.04)
    assert max(found.p[test] for test in ("coverage 50%", "coverage 90%", "likelihood", "prior")) < LIMIT
    assert found.coverage["50%"].value > 0.54


def test_a_shift_shows_in_the_mean() -> None:
    found = row(shifted, "Gaussian, blur")
    assert found.mean["measured"].value > 0.3
    assert len(found.failures("estimate", LIMIT)) == 1
    assert found.p["coverage 50%"] < LIMIT


@pytest.mark.parametrize("name", ["Gaussian, MRI", "mixture, CT"])
def test_directions_are_uncorrelated_in_prior_and_posterior(name: str) -> None:
    prior, op, sigma_y = problem(name)
    axes = directions(prior, op, sigma_y)
    assert bool(axes.measured.any() and (~axes.measured).any())
    variance = axes.of(prior.sample(4000, 1)).var(0)
    assert float((variance - 1).abs().max()) < 0.12  # a standard error of sqrt(2 / 4000), the largest of 64 or 128
    y = simulate(problem(name), 1, 2)[1]
    std = axes.deviations(exact_posterior(prior, op, y, sigma_y))[0]
    if name.startswith("Gaussian"):
        torch.testing.assert_close(std.square() < 0.5, axes.measured)
        draws = axes.of(exact_posterior(prior, op, y, sigma_y).sample(2000, 3))[0]
        off = torch.corrcoef(draws.mT) - torch.eye(len(std))
        assert float(off.abs().max()) < 0.13  # 4.4 standard errors at most among 8128, and a margin


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_keep_the_protocols(name: str) -> None:
    prior, op, _ = problem(name)
    check_operator(op)
    check_prior(prior)


def perturb_and_map(y: Tensor, op: Any, prior: Any, *, sigma_y: Tensor, noise: Any, callback: Any) -> Tensor:
    """An honest sampler: x' + C A^H (A C A^H + sigma_y^2)^-1 (y - y') with (x', y') from the model."""
    x = prior.sample(len(y), noise)
    miss = y - op(x) - over(sigma_y, y) * noise.like(y)
    miss = miss if op.sampled is None else torch.where(op.sampled, miss, 0)
    r = cg(lambda r: op(prior.cov(op.adjoint(r))) + over(sigma_y**2, r) * r, miss, iterations=300, tol=1e-6)
    x = x + prior.cov(op.adjoint(r))
    callback(0, 1, x=x)
    return x


def test_a_solver_of_a_user_is_proved() -> None:
    report = check_solver(perturb_and_map, "posterior", problems=["Gaussian, blur", "Gaussian, MRI"], simulations=16)
    assert report.failures("posterior") == []
    assert [r.problem for r in report.rows] == ["Gaussian, blur", "Gaussian, MRI"]
    assert "passes" in str(report)
    assert len(str(report).splitlines()) == 2 + 2 + 2


def test_a_claim_that_does_not_hold_is_an_error_that_says_where() -> None:
    with pytest.raises(AssertionError, match=r"Gaussian, blur: .*spread 0.* where unmeasured") as caught:
        check_solver("dds", "posterior", problems=["Gaussian, blur"], simulations=8, draws=3, steps=4)
    assert "does not keep the claim 'posterior'" in str(caught.value)


def test_flags_choose_the_claim() -> None:
    few: dict[str, Any] = {"problems": ["Gaussian, inpainting"], "simulations": 8, "draws": 2}
    check_solver("adjoint", "flags", **few)
    with pytest.raises(AssertionError, match="'estimate'"):
        check_solver("diffpir", "flags", steps=1, **few)
    with pytest.raises(ValueError, match="has no flags"):
        check_solver(perturb_and_map, "flags", **few)


def test_what_a_method_refuses_is_in_the_report() -> None:
    report = check_solver("ddrm", problems=["mixture, CT"], simulations=8, draws=2, steps=2)
    assert "singular vectors" in report.rows[0].refusal
    assert report.failures("estimate") == ["it was refused on every problem"]
    assert "singular vectors" in str(report)


def draw(y: Tensor, op: Any, prior: Any, noise: Any) -> Tensor:
    blank = torch.zeros(len(y), *op.shape_in, dtype=torch.complex64 if prior.complex else torch.float32)
    return noise.like(blank)


def silent(y: Tensor, op: Any, prior: Any, *, noise: Any, callback: Any) -> Tensor:
    return draw(y, op, prior, noise)


def changes_y(y: Tensor, op: Any, prior: Any, *, noise: Any, callback: Any) -> Tensor:
    y.mul_(0.9)
    return told(draw(y, op, prior, noise), callback)


def own_randomness(y: Tensor, op: Any, prior: Any, *, noise: Any, callback: Any) -> Tensor:
    x = draw(y, op, prior, noise)
    return told(x + torch.randn(x.shape), callback)


def coupled(y: Tensor, op: Any, prior: Any, *, noise: Any, callback: Any) -> Tensor:
    x = draw(y, op, prior, noise)
    return told(x - x.mean(0), callback)


def real_only(y: Tensor, op: Any, prior: Any, *, noise: Any, callback: Any) -> Tensor:
    if prior.complex:
        raise TypeError("real images only")
    return told(draw(y, op, prior, noise), callback)


def adds_phase(y: Tensor, op: Any, prior: Any, *, noise: Any, callback: Any) -> Tensor:
    return told(draw(y, op, prior, noise) * (1 if prior.complex else 1j), callback)


def drops_phase(y: Tensor, op: Any, prior: Any, *, noise: Any, callback: Any) -> Tensor:
    return told(draw(y, op, prior, noise).abs(), callback)


def endless(y: Tensor, op: Any, prior: Any, *, noise: Any, callback: Any) -> Tensor:
    return told(draw(y, op, prior, noise) / 0, callback)


def told(x: Tensor, callback: Any) -> Tensor:
    callback(0, 1, x=x)
    return x


FAULTS: dict[Callable[..., Tensor], str] = {
    silent: "callback was never called",
    changes_y: "y was changed",
    own_randomness: "global random generator",
    coupled: "with the others of its batch",
    real_only: "MRI: failed: real images only",
    adds_phase: "blur: images are torch.complex64, and must be torch.float32",
    drops_phase: "MRI: failed: CartesianMRI takes a complex x",
    endless: "not finite",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_broken_promises_show(fault: Callable[..., Tensor]) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        check_solver(fault, "contract", problems=["mixture, inpainting"], simulations=8, draws=2)


@pytest.mark.parametrize("method", ["pnp-dm", "ddrm", "cg"])
def test_methods_of_the_package_keep_the_promises(method: str) -> None:
    options = {} if method == "cg" else {"steps": 3}
    check_solver(method, "contract", problems=["Gaussian, inpainting"], simulations=8, draws=2, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options"), [("daps", {}), ("pnp-dm", {}), ("pigdm", {"steps": 400})])
def test_three_methods_sample_gaussian_posteriors(method: str, options: dict[str, Any]) -> None:
    names = [name for name in PROBLEMS if name.startswith("Gaussian")]
    check_solver(method, "posterior", problems=names, simulations=24, **options)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean 'Gaussian, blur'"):
        check_solver("dds", problems=["Gaussian, blurr"])
    with pytest.raises(ValueError, match="claims must be"):
        check_solver("dds", "truth")
    with pytest.raises(ValueError, match="the claim must be"):
        SolverReport("x", {}, (), {}, 8, 2, 0.01).failures("truth")
    with pytest.raises(ValueError, match="unknown method 'ddss'"):
        check_solver("ddss", "flags")
