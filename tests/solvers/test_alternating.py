"""`dcdp`, `dc-pnp` and the tilt of `sitcom`: the equations they solve, whitening, and operators of every kind."""

from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import Identity, Transmission, stack
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.counted import Counted
from invdiff.priors.posterior import exact_posterior
from invdiff.random import streams
from invdiff.shapes import norm, over
from invdiff.solvers.dc_pnp import complement, smoothed
from invdiff.solvers.dcdp import descended
from invdiff.solvers.purification import purify
from invdiff.solvers.tilt import tilted
from tests.solvers.operators import OPERATORS, coils, smooth

SIZE = (9, 12)
METHODS: dict[str, dict[str, Any]] = {
    "dcdp": {"steps": 6, "denoise": 2},
    "dc-pnp": {"steps": 12},
    "sitcom": {"steps": 12, "solver": "tilt"},
    "daps": {"steps": 12},
    "pnp-dm": {"steps": 12},
}


def solved(op: Operator, y: Tensor, method: str, is_complex: bool, sigma: float = 0.05, **more: Any) -> Tensor:
    options = {**METHODS[method], "sigma_y": sigma, "scale": 1.0, "seed": 0, "progress": False, **more}
    return invdiff.solve(y, op, smooth(is_complex, SIZE), method, **options).x


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("method", METHODS)
def test_any_linear_operator_and_batch(method: str, name: str) -> None:
    """Nearer to the truth than the prior's mean; an item does not depend on its batch or on the noise of others."""
    make, is_complex = OPERATORS[name]
    op, truth = make(SIZE), smooth(is_complex, SIZE).sample(2, 3)
    y = op.simulate(truth, 0.05, seed=1)
    level = torch.tensor([0.05, 0.2])
    both = solved(op, y, method, is_complex, sigma=level)
    assert both.dtype == truth.dtype
    assert bool((norm(both - truth) < 0.9 * norm(truth - 0.2)).all())
    torch.testing.assert_close(both[:1], solved(op, y[:1], method, is_complex), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_noise_free_data_are_met(method: str) -> None:
    """Without noise what is measured is what is found, to the lowest level of the prior."""
    op = coils(SIZE)
    y = op(smooth(True, SIZE).sample(1, 3))
    x = solved(op, y, method, True, sigma=0.0)
    assert float(norm(op(x) - y) / norm(y)) < 0.05


def test_the_penalty_free_data_step_fits_what_has_no_noise() -> None:
    op = coils(SIZE)
    truth = smooth(True, SIZE).sample(1, 3)
    x = solved(op, op(truth), "dc-pnp", True, sigma=0.0, w=0.0)
    assert float(norm(op(x - truth)) / norm(op(truth))) < 0.05
    assert float(norm(x - truth)) < 0.9 * float(norm(truth - 0.2))


@pytest.mark.parametrize("method", ["daps", "pnp-dm", "dcdp"])
def test_operators_that_are_not_linear(method: str) -> None:
    op = Transmission(Identity((1, *SIZE)), photons=1.0)
    truth = smooth(False, SIZE).sample(1, 3)
    y = op(truth) + 0.05 * streams(1, 1)[0].like(truth)
    options = {"steps": 20} | ({"denoise": 1} if method == "dcdp" else {"inner": 10})
    x = solved(op, y, method, False, **options)
    assert float(norm(x - truth)) < 0.4 * float(norm(truth - 0.2))


@pytest.mark.parametrize("method", ["dc-pnp", "sitcom"])
def test_methods_that_need_a_linear_operator_say_so(method: str) -> None:
    op = Transmission(Identity((1, *SIZE)), photons=1.0)
    with pytest.raises(ValueError, match=r"needs a linear operator.* Use"):
        solved(op, op(smooth(False, SIZE).sample(1, 3)), method, False)


# Spectral homogenisation


def pink(n: int, is_complex: bool) -> Tensor:
    """Images whose power per component is 0.5 in the lower half of frequencies and 0 above."""
    x = streams(1, n)[0].like(torch.zeros(n, 1, 32, 33, dtype=torch.complex64 if is_complex else torch.float32))
    fy, fx = torch.fft.fftfreq(32)[:, None].abs(), torch.fft.fftfreq(33).abs()
    x = torch.fft.ifft2(torch.fft.fft2(x) * ((fy < 0.25) & (fx < 0.25)) * 0.5**0.5)
    return x if is_complex else x.real


@pytest.mark.parametrize("is_complex", [False, True])
def test_residual_and_complement_are_white(is_complex: bool) -> None:
    residual = pink(16, is_complex)
    added = complement(residual, 1.5, streams(2, 16)[0])
    assert added.is_complex() == is_complex

    def bands(x: Tensor) -> tuple[float, float]:
        power = torch.fft.fft2(x, norm="ortho").abs().square().mean((0, 1)) / (2 if is_complex else 1)
        return float(power[:6, :6].mean()), float(power[12:20, 12:20].mean())

    before, after = bands(residual), bands(residual + added)
    assert before == pytest.approx((0.5, 0.0), abs=0.06)
    assert after == pytest.approx((2.25, 2.25), rel=0.12)  # 36 x 16 values: 4 to 6 %; the box leaks a little
    assert bands(residual + 1.5 * streams(2, 16)[0].like(residual))[0] > 1.12 * 2.25  # noise of the level is too much


def test_nothing_is_added_where_the_residual_exceeds_the_level() -> None:
    residual = pink(4, False)
    added = complement(residual, 0.3, streams(2, 4)[0])
    low = torch.fft.fft2(added, norm="ortho")[..., :5, :5].abs().square().mean()
    assert float(low) < 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (6, 7), (32, 33)])
def test_smoothing_keeps_a_flat_spectrum_and_the_symmetry_of_real_images(shape: tuple[int, int]) -> None:
    flat = torch.full((2, 3, *shape), 2.0)
    torch.testing.assert_close(smoothed(flat), flat[:, :1])
    x = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    power = smoothed(torch.fft.fft2(x).abs() ** 2)
    torch.testing.assert_close(power, power.flip(-2, -1).roll((1, 1), (-2, -1)), rtol=1e-4, atol=1e-4)


# Fixed points


def test_admm_reaches_the_posterior_mean_of_a_gaussian() -> None:
    """The minimum of both terms; with a dual that is not rescaled it ends 0.7 deviations off."""
    op = coils(SIZE)
    y = op.simulate(smooth(True, SIZE).sample(1, 3), 0.1, seed=1)
    exact = exact_posterior(smooth(True, SIZE), op, y, 0.1)
    x = solved(op, y, "dc-pnp", True, 0.1, steps=50, w=1.0, num_samples=48)
    error = (x - exact.mean).abs() / exact.std() / 2**0.5
    assert float(error.square().mean().sqrt()) < 0.25  # 48 exact draws: 0.14


def test_the_tilt_is_the_posterior_mean_given_the_state() -> None:
    """For a Gaussian: D(x + A^H q) is the mean given y and x, two measurements of x0; many steps, no discrepancy."""
    op, gaussian, sigma, sigma_y = coils(SIZE), smooth(True, SIZE), 0.5, torch.tensor([0.1])
    truth = gaussian.sample(1, 3)
    y = op.simulate(truth, 0.1, seed=1)
    x = truth + sigma * streams(5, 1)[0].like(truth)
    both = stack(op, (0.1 / sigma) * Identity((1, *SIZE)))
    assert isinstance(both, LinearOperator)
    joined = both.simulate(torch.zeros_like(truth))
    joined = torch.cat([y.flatten(1), (0.1 / sigma) * x.flatten(1)], 1).reshape(joined.shape)
    exact = exact_posterior(gaussian, both, joined, 0.1).mean
    x0, _ = tilted(y, op, gaussian, x, sigma, sigma_y=sigma_y, inner=60)
    few, _ = tilted(y, op, gaussian, x, sigma, sigma_y=sigma_y, inner=5)
    start = gaussian(x, sigma)
    assert float(norm(x0 - exact)) < 1e-3 * float(norm(exact - start))
    assert float(norm(few - exact)) < 0.5 * float(norm(exact - start))


def test_the_tilt_costs_no_gradient() -> None:
    op, truth = coils(SIZE), smooth(True, SIZE).sample(2, 3)
    counted = Counted(smooth(True, SIZE))
    tilted(op(truth), op, counted, truth, 0.5, sigma_y=torch.full((2,), 0.05), inner=4)
    assert (counted.nfe, counted.vjps) == (5, 0)


def test_gradient_steps_stop_at_the_noise() -> None:
    op, truth = coils(SIZE), smooth(True, SIZE).sample(2, 3)
    sigma = torch.tensor([0.01, 0.3])
    noise = op.simulate(torch.zeros_like(truth), 1.0)
    y = op(truth) + over(sigma, noise) * noise
    x = descended(y, op, torch.zeros_like(truth), sigma, 300)
    misfit = norm(op(x) - y) / (sigma * op.measured(True) ** 0.5)
    assert bool((misfit < 1.01).all())
    assert float(misfit[1]) > 0.3


def test_purification_hides_what_is_below_its_level() -> None:
    gaussian = smooth(True, SIZE)
    images = gaussian.sample(64, 3)
    out = purify(gaussian, images, 0.3, 20, streams(0, 64)[0])
    assert float(out.abs().square().mean()) == pytest.approx(float(images.abs().square().mean()), rel=0.1)
    change = float(norm(out - images).square().mean() / images[0].numel()) ** 0.5
    assert 0.1 < change < 0.3 * 2**0.5


@pytest.mark.parametrize(
    ("method", "option", "message"),
    [
        ("daps", {"ode": 0}, "ode must be at least 1"),
        ("pnp-dm", {"average": 99}, "average must be .* at most 12"),
        ("pnp-dm", {"rho_min": 20.0}, "rho_min must be .* at most 10"),
        ("dcdp", {"lam": 0.0}, "lam must be above 0"),
        ("dc-pnp", {"w": -1.0}, "w must be at least 0"),
        ("sitcom", {"solver": "newton"}, "unknown solver 'newton'.* There is: adam, tilt"),
        ("sitcom", {"inner": 0}, "inner must be at least 1"),
    ],
)
def test_refusals(method: str, option: dict[str, Any], message: str) -> None:
    y = coils(SIZE)(smooth(True, SIZE).sample(1, 3))
    with pytest.raises(ValueError, match=message):
        solved(coils(SIZE), y, method, True, **option)
