"""Every parameterisation against the exact denoiser of a Gaussian, in double precision.

For x0 ~ N(mu, C) the exact eps, v, x0, score, flow and F are known. A network that returns one of them must give the
D of `GaussianPrior` through its parameterisation.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from invdiff.diffusion.precondition import (
    EDM,
    PARAMETERISATIONS,
    ContinuousEpsilon,
    Direct,
    Epsilon,
    Flow,
    Network,
    Parameterisation,
    Sample,
    Score,
    Velocity,
    edm,
    edm_weight,
    parameterisation,
)
from invdiff.diffusion.vp import Schedule
from tests.priors.models import low_rank, normal

PRIOR = low_rank((2, 5, 4)).double()
LINEAR, COSINE = Schedule.linear(), Schedule.cosine()
SIGMAS = torch.tensor([0.011, 0.3, 1.7, 40.0, 150.0], dtype=torch.float64)
X = PRIOR.sample(5, 0) + SIGMAS[:, None, None, None] * normal(5, 2, 5, 4, seed=1)


def over(v: Tensor) -> Tensor:
    return v[:, None, None, None]


def exact(x: Tensor, sigma: Tensor) -> Tensor:
    return PRIOR(x, sigma)


def vp(schedule: Schedule, kind: str) -> Network:
    """The exact VP network at fractional times: the definitions, solved for what the network sees."""

    def net(x_t: Tensor, t: Tensor) -> Tensor:
        sigma = over(schedule.sigma(t))
        abar = 1 / (1 + sigma**2)
        x0 = exact(x_t / abar.sqrt(), sigma.flatten())
        eps = (x_t - abar.sqrt() * x0) / (1 - abar).sqrt()
        return {"x0": x0, "eps": eps, "v": abar.sqrt() * eps - (1 - abar).sqrt() * x0}[kind]

    return net


def continuous(x_t: Tensor, time: Tensor) -> Tensor:
    """The exact epsilon of the continuous schedule, given 999 t."""
    t = over(time / 999)
    abar = torch.exp(-0.1 * t - 19.9 * t**2 / 2)
    x0 = exact(x_t / abar.sqrt(), ((1 - abar) / abar).sqrt().flatten())
    return (x_t - abar.sqrt() * x0) / (1 - abar).sqrt()


def score(x: Tensor, sigma: Tensor) -> Tensor:
    """The gradient of log N(x; mu, C + sigma^2), by autograd of the density."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(PRIOR.log_density(leaf, sigma).sum(), leaf)[0]


def flow(x_t: Tensor, t: Tensor) -> Tensor:
    x = x_t / over(1 - t)
    x0 = exact(x, t / (1 - t))
    return (x - x0) / over(t / (1 - t)) - x0


def raw_edm(sigma_data: float) -> Network:
    """F from c_skip x + c_out F = D, its noise input exp(4 c) = sigma."""

    def net(x_in: Tensor, c_noise: Tensor) -> Tensor:
        sigma = over((4 * c_noise).exp())
        x = x_in * (sigma**2 + sigma_data**2).sqrt()
        skip = sigma_data**2 / (sigma**2 + sigma_data**2)
        return (exact(x, sigma.flatten()) - skip * x) / (skip.sqrt() * sigma)

    return net


@dataclass
class Case:
    parameterisation: Parameterisation
    net: Network
    atol: float = 1e-10


CASES = {
    "edm": Case(EDM(0.7), raw_edm(0.7)),
    "epsilon": Case(Epsilon(LINEAR), vp(LINEAR, "eps")),
    "continuous": Case(ContinuousEpsilon(), continuous),
    "epsilon-cosine": Case(Epsilon(COSINE), vp(COSINE, "eps")),
    "epsilon-variance": Case(
        Epsilon(LINEAR, learned_variance=True),
        lambda x, t: torch.cat([vp(LINEAR, "eps")(x, t), torch.full_like(x, 7.0)], 1),
    ),
    "velocity": Case(Velocity(LINEAR), vp(LINEAR, "v")),
    "sample": Case(Sample(LINEAR), vp(LINEAR, "x0")),
    "score": Case(Score(), score, 1e-9),  # sigma^2 = 2e4 times the rounding of the score
    "flow": Case(Flow(), flow),
    "direct": Case(Direct(), exact),
}


def error(case: Case, net: Network) -> float:
    return float((case.parameterisation.denoise(net, X, SIGMAS) - exact(X, SIGMAS)).abs().max())


@pytest.mark.parametrize("name", CASES)
def test_the_exact_network_gives_the_exact_denoiser(name: str) -> None:
    assert error(CASES[name], CASES[name].net) < CASES[name].atol


FAULTS: dict[str, Callable[[Network], Network]] = {
    "one step late": lambda net: lambda x, t: net(x, (t + 1).clamp(max=999)),
    "half a step early": lambda net: lambda x, t: net(x, (t - 0.5).clamp(min=0)),
    "wrong sign": lambda net: lambda x, t: -net(x, t),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["epsilon", "continuous", "velocity", "sample"])
def test_a_wrong_time_or_sign_is_seen(name: str, fault: str) -> None:
    assert error(CASES[name], FAULTS[fault](CASES[name].net)) > 1e-4


@pytest.mark.parametrize("name", ["edm", "score", "flow", "direct"])
def test_a_wrong_sign_or_level_is_seen(name: str) -> None:
    case = CASES[name]
    assert error(case, lambda x, t: -case.net(x, t)) > 1e-4
    assert error(case, lambda x, t: case.net(x, 0.99 * t)) > 1e-4


def test_one_parameterisation_does_not_pass_for_another() -> None:
    for name in ("velocity", "sample"):
        assert error(CASES["epsilon"], CASES[name].net) > 1e-2


def test_samples_have_their_own_levels() -> None:
    case = CASES["epsilon"]
    together = case.parameterisation.denoise(case.net, X, SIGMAS)
    for i in range(len(X)):
        alone = case.parameterisation.denoise(case.net, X[i : i + 1], SIGMAS[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"score"}))  # the exact score is itself a derivative, taken once
def test_the_derivative_is_that_of_the_exact_denoiser(name: str) -> None:
    case, v = CASES[name], normal(*X.shape, seed=3)
    leaf = X.clone().requires_grad_()
    (pull,) = torch.autograd.grad(case.parameterisation.denoise(case.net, leaf, SIGMAS), leaf, v)
    torch.testing.assert_close(pull, PRIOR.vjp(X, SIGMAS, v), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_json_gives_the_same_parameterisation_back(name: str) -> None:
    original = CASES[name].parameterisation
    assert parameterisation(json.loads(json.dumps(original.to_dict()))) == original


def test_all_are_known_by_name_and_tested() -> None:
    assert set(PARAMETERISATIONS.values()) == {type(case.parameterisation) for case in CASES.values()}


def test_wrong_descriptions_are_refused() -> None:
    with pytest.raises(ValueError, match="epsilon"):
        parameterisation({"name": "epsilom"})
    with pytest.raises(ValueError, match="sigma_data"):
        parameterisation({"name": "edm", "sigma": 0.5})


def test_networks_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="learned_variance=True"):
        Epsilon(LINEAR).denoise(lambda x, t: torch.cat([x, x], 1), X, SIGMAS)
    with pytest.raises(ValueError, match="returned"):
        Epsilon(LINEAR, learned_variance=True).denoise(lambda x, t: x, X, SIGMAS)
    with pytest.raises(ValueError, match="returned"):
        Direct().denoise(lambda x, t: x[:, :, :1, :1], X, SIGMAS)


def test_noise_levels_of_the_training_are_known_where_there_is_a_table() -> None:
    assert Velocity(LINEAR).sigma_range == (LINEAR.sigma_min, LINEAR.sigma_max)
    assert EDM().sigma_range is None


def test_edm_inputs_and_targets_have_unit_variance() -> None:
    sigma = torch.tensor([0.01, 0.5, 3.0], dtype=torch.float64)
    c = edm(sigma, 0.5)
    total = sigma**2 + 0.25
    torch.testing.assert_close(c.c_in**2 * total, torch.ones_like(sigma))
    target = ((1 - c.c_skip) ** 2 * 0.25 + c.c_skip**2 * sigma**2) / c.c_out**2
    torch.testing.assert_close(target, torch.ones_like(sigma))
    torch.testing.assert_close(edm_weight(sigma, 0.5), c.c_out**-2)
