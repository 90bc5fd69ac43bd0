"""NCSN++ checkpoints as priors: averaged weights by order, the VE score, noise levels and value range of the file."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from invdiff.diffusion.precondition import ContinuousEpsilon, Epsilon
from invdiff.networks.ncsnpp import NCSNpp
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.checkpoints import load_prior
from tests.priors.pickles import weights

SMALL: dict[str, Any] = {"first": 8, "widths": (8, 12), "blocks": 1}
VP: dict[str, Any] = {"noise": "positional", "block": "ddpm", "progressive_input": "none", "taps": (1, 1)}


def network(channels: int = 1, seed: int = 0, **options: Any) -> NCSNpp:
    net = weights(NCSNpp(channels=channels, **{**SMALL, **options}), seed)
    assert isinstance(net, NCSNpp)
    return net


def checkpoint(net: NCSNpp, averaged: NCSNpp, *, named: bool = False) -> dict[str, Any]:
    """What the score-SDE code writes; the frequencies are not among the averages."""
    levels = torch.exp(torch.linspace(torch.tensor(378.0).log(), torch.tensor(0.01).log(), 20, dtype=torch.float64))
    model = OrderedDict({"module.sigmas": levels}, **{f"module.{k}": v for k, v in net.state_dict().items()})
    source = {**averaged.state_dict(), **{k: v for k, v in net.state_dict().items() if k == "all_modules.0.W"}}
    shadow = [source[name] for name in net.state_dict() if name != "all_modules.0.W"]
    ema = {"decay": 0.999, "num_updates": 7, "shadow_params": shadow} if named else shadow
    return {"optimizer": {"state": {}}, "model": model, "ema": ema, "step": 95}


def load(path: Path, content: Any, **options: Any) -> AdaptedPrior:
    torch.save(content, path / "checkpoint_95.pth")
    prior = load_prior(path / "checkpoint_95.pth", **options)
    assert isinstance(prior, AdaptedPrior)
    return prior


def image(channels: int = 1, seed: int = 1) -> Tensor:
    return torch.rand(2, channels, 8, 12, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("named", [True, False])
def test_averages_without_names_are_taken_in_order(tmp_path: Path, named: bool) -> None:
    last, averaged = network(), network(seed=1)
    averaged.all_modules[0].W.data = last.all_modules[0].W.data
    prior = load(tmp_path, checkpoint(last, averaged, named=named))
    x, sigma = image(), 0.4
    wanted = x + sigma**2 * averaged(x, torch.full((2,), sigma))
    torch.testing.assert_close(prior(x, sigma), wanted, rtol=1e-5, atol=1e-5)
    assert prior.range == (0.0, 1.0)
    assert (prior.sigma_min, prior.sigma_max) == pytest.approx((0.01, 378.0))
    raw = load(tmp_path, checkpoint(last, averaged, named=named), averaged=False)
    torch.testing.assert_close(raw(x, sigma), x + sigma**2 * last(x, torch.full((2,), sigma)), rtol=1e-5, atol=1e-5)


def test_averages_that_are_not_the_models_are_refused(tmp_path: Path) -> None:
    content = checkpoint(network(), network(seed=1))
    content["ema"] = content["ema"][:-1]
    with pytest.raises(ValueError, match="averaged=False"):
        load(tmp_path, content)


def test_one_channel_serves_both_parts_of_complex_images(tmp_path: Path) -> None:
    net = network()
    prior = load(tmp_path, checkpoint(net, net), channels="complex-split", percentile=99.0)
    re, im = image(seed=2), image(seed=3)
    found = prior(torch.complex(re, im), 0.4)
    noise = torch.full((2,), 0.4)
    torch.testing.assert_close(found.real, re + 0.16 * net(re, noise), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.imag, im + 0.16 * net(im, noise), rtol=1e-5, atol=1e-5)


def test_another_range_scales_sigma_with_it(tmp_path: Path) -> None:
    net = network()
    prior = load(tmp_path, checkpoint(net, net), range=(-1.0, 1.0))
    x = 2 * image() - 1
    unit = (x + 1) / 2
    wanted = 2 * (unit + 0.2**2 * net(unit, torch.full((2,), 0.2))) - 1
    torch.testing.assert_close(prior(x, 0.4), wanted, rtol=1e-5, atol=1e-5)
    assert prior.sigma_max == pytest.approx(756.0)


def test_two_channels_are_a_complex_image(tmp_path: Path) -> None:
    net = network(2)
    assert load(tmp_path, checkpoint(net, net)).complex


def test_networks_that_see_the_time_predict_noise(tmp_path: Path) -> None:
    net = network(**VP)
    prior = load(tmp_path, checkpoint(net, net))
    assert prior.parameterisation == ContinuousEpsilon()
    assert prior.range == (-1.0, 1.0)
    sigma, t = 0.4, 0.1  # any t gives its sigma
    sigma = float(torch.expm1(torch.tensor(0.1 * t + 19.9 * t**2 / 2, dtype=torch.float64)).sqrt())
    x = image()
    wanted = x - sigma * net(x / (1 + sigma**2) ** 0.5, torch.full((2,), 999 * t))
    torch.testing.assert_close(prior(x, sigma), wanted, rtol=1e-4, atol=1e-4)
    table = load(tmp_path, checkpoint(net, net), parameterisation="epsilon")
    assert isinstance(table.parameterisation, Epsilon)


def test_what_tensors_do_not_tell_is_an_option(tmp_path: Path) -> None:
    net = network(skip_rescale=False)
    x, noise = image(), torch.full((2,), 0.4)
    wanted = x + 0.16 * net(x, noise)
    prior = load(tmp_path, checkpoint(net, net), skip_rescale=False)
    torch.testing.assert_close(prior(x, 0.4), wanted, rtol=1e-5, atol=1e-5)
    assert float((load(tmp_path, checkpoint(net, net))(x, 0.4) - wanted).norm()) > 1e-2


def test_without_levels_they_are_asked_for(tmp_path: Path) -> None:
    content = checkpoint(network(), network())
    del content["model"]["module.sigmas"]
    with pytest.raises(ValueError, match="pass sigma_min and sigma_max"):
        load(tmp_path, content)
    assert load(tmp_path, content, sigma_min=0.01, sigma_max=348.0).sigma_max == 348.0
