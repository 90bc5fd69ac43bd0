"""Steps against the marginals they must keep: for x0 fixed, x at level s is x0 + s n."""

import pytest
import torch

from invdiff.diffusion.precondition import edm, edm_weight
from invdiff.diffusion.step import ancestral, ddim, multistep, renoise
from invdiff.random import Noise

N = 40_000  # draws; standard errors of a standard deviation are then 0.35 per cent


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("step", ["renoise", "ddim", "ancestral"])
def test_steps_keep_the_marginal_given_x0(step: str, dtype: torch.dtype) -> None:
    x0 = torch.full((1, 1, 200, 200), 0.7, dtype=dtype)
    noise = Noise([3])
    x = x0 + 2.0 * noise.like(x0)
    out = {
        "renoise": lambda: renoise(x0, 0.5, noise),
        "ddim": lambda: ddim(x, x0, x0, 2.0, 0.5, 0.6, noise),
        "ancestral": lambda: ancestral(x, x0, 2.0, 0.5, noise),
    }[step]()
    real = torch.view_as_real(out) if out.is_complex() else out[..., None]
    assert float(real[..., 0].mean()) == pytest.approx(0.7, abs=4 * 0.5 / N**0.5)
    for component in real.unbind(-1):
        assert float(component.std()) == pytest.approx(0.5, rel=0.015)


def test_the_last_step_returns_the_estimate_and_draws_nothing() -> None:
    x0, noise = torch.ones(1, 1, 2, 2), Noise([0])
    before = noise.generators[0].get_state()
    for out in (renoise(x0, 0.0, noise), ddim(x0, x0, x0, 1.0, 0.0, 0.85, noise), ancestral(x0, x0, 1.0, 0.0, noise)):
        assert out is x0
    assert torch.equal(noise.generators[0].get_state(), before)


def test_deterministic_ddim_is_the_euler_step_of_the_probability_flow() -> None:
    x, x0, noise = torch.randn(1, 1, 3, 3), torch.randn(1, 1, 3, 3), Noise([0])
    euler = x + (0.4 - 1.5) * (x - x0) / 1.5
    torch.testing.assert_close(ddim(x, x0, x0, 1.5, 0.4, 0.0, noise), euler)


def test_the_multistep_is_euler_without_a_past_and_carries_a_trend_on() -> None:
    x, x0, before = (torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(i)) for i in range(3))
    torch.testing.assert_close(multistep(x, x0, None, 1.5, 0.4, 0.0), ddim(x, x0, x0, 1.5, 0.4, 0.0, Noise([0])))
    torch.testing.assert_close(multistep(x, x0, x0, 1.5, 0.4, 0.7), ddim(x, x0, x0, 1.5, 0.4, 0.0, Noise([0])))
    # equal steps in log sigma: the estimate half a step ahead
    ahead = x0 + (x0 - before) / 2
    torch.testing.assert_close(multistep(x, x0, before, 1.5, 0.4, 1.0), ahead + 0.4 / 1.5 * (x - ahead))
    assert multistep(x, x0, before, 1.5, 0.0, 1.0) is x0


def test_preconditioning_identities() -> None:
    sigma = torch.tensor([0.01, 0.3, 1.0, 20.0], dtype=torch.float64)
    c = edm(sigma, 0.5)
    total = sigma**2 + 0.25
    torch.testing.assert_close(c.c_in**2 * total, torch.ones_like(sigma))  # unit input variance
    # effective target (x0 - c_skip x) / c_out has unit variance
    target = ((1 - c.c_skip) ** 2 * 0.25 + c.c_skip**2 * sigma**2) / c.c_out**2
    torch.testing.assert_close(target, torch.ones_like(sigma))
    torch.testing.assert_close(edm_weight(sigma, 0.5) * c.c_out**2, torch.ones_like(sigma))
