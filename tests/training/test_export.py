"""Export: the prior denoises as the average does, in the units it was trained in, with a card that says what it is."""

import json
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from invdiff.priors.checkpoints import load_prior
from invdiff.training.config import Augment, Config, Data
from invdiff.training.export import attenuation, check_target, export, make_prior
from invdiff.training.network import make_network
from invdiff.training.state import read_state
from invdiff.training.toml import ConfigError
from invdiff.training.train import train
from tests.training.tiny import TINY, discs, write


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    subjects = np.array([f"p{i // 5}" for i in range(20)], "S")
    data = write(folder / "slices.h5", images=discs(20), subject=subjects)
    train(TINY, data, folder / "tiny.pt", steps=20)
    return folder / "tiny.pt"


def test_the_prior_is_the_average_to_half_precision(state: Path, tmp_path: Path) -> None:
    export(state, tmp_path / "p.safetensors")
    prior = load_prior(tmp_path / "p.safetensors")
    net = make_network(TINY)
    net.load_state_dict(read_state(state)["ema"])
    x = torch.randn(2, 1, 16, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior(x, 0.3), make_prior(net, TINY)(x, 0.3), rtol=0, atol=2e-3)
    assert (prior.complex, prior.percentile, prior.window, prior.range) == (True, 99.5, None, (-1.0, 1.0))
    assert (prior.sigma_min, prior.sigma_max, prior.domain) == (0.01, 10.0, "discs")


def test_the_card_says_what_was_done(state: Path, tmp_path: Path) -> None:
    about = replace(TINY, domain="round things", card={"data": "drawn here", "limits": "None known."})
    export(state, tmp_path / "p.safetensors", config=about, command="invdiff train tiny.toml")
    content = json.loads((tmp_path / "p.json").read_text())
    card = content["card"]
    assert content["domain"] == "round things"
    assert (card["data"], card["data_licence"]) == ("drawn here", "not stated")
    assert card["limits"] == "None known. Not for diagnosis."
    assert card["split"] == "15 training and 5 validation slices: 1 of 4 subjects held out at random, seed 0"
    assert (card["steps"], card["ema"], card["command"]) == (20, 0.1, "invdiff train tiny.toml")
    assert card["validation_psnr"].keys() == {"0.1", "0.4"}
    assert card["cost"]["device"].startswith("cpu")
    assert card["training"]["data"]["path"] == "slices.h5"
    assert card["training"]["optimizer"]["lr"] == TINY.optimizer.lr
    assert str(tmp_path) not in (tmp_path / "p.json").read_text()


def test_averages_of_other_widths(state: Path, tmp_path: Path) -> None:
    found = {w: export(state, tmp_path / "p.safetensors", width=w).net.state_dict() for w in (0.05, 0.07, 0.1)}
    stored = read_state(state)
    for name, value in found[0.05].items():
        assert torch.equal(value, stored["averages"]["0.05"][name])
    distance = {w: float((found[w]["head.weight"] - found[0.1]["head.weight"]).norm()) for w in found}
    assert 0 < distance[0.07] < distance[0.05]
    with pytest.raises(ValueError, match="cannot be made"):
        export(state, tmp_path / "p.safetensors", width=0.01)


def test_the_best_state_is_exported_too(state: Path, tmp_path: Path) -> None:
    export(state.with_suffix(".best.pt"), tmp_path / "p.safetensors", width=0.07)
    assert load_prior(tmp_path / "p.safetensors").complex


@pytest.mark.parametrize(
    ("data", "range", "window"),
    [
        (Data(channels="real", scaling="window"), (-1.0, 1.0), (0.0, pytest.approx(0.0386))),
        (Data(channels="real", scaling="window", unit="mm^-1", window=(0.0, 0.04)), (-1.0, 1.0), (0.0, 0.04)),
        (Data(channels="real"), (0.0, 1.0), None),
    ],
)
def test_units_of_real_priors(data: Data, range: tuple[float, float], window: tuple[float, float] | None) -> None:
    config = Config(network=TINY.network, data=data, augment=Augment(phase=False))
    prior = make_prior(make_network(config), config)
    assert (prior.complex, prior.range, prior.window) == (False, range, window)
    assert prior.percentile == (None if window else 99.5)


def test_water_has_its_attenuation_in_the_middle_of_the_window() -> None:
    low, high = attenuation(Data(channels="real", scaling="window", window=(-1000.0, 1000.0), mu_water=0.02))
    assert (low + high) / 2 == pytest.approx(0.02)


def test_a_prior_ends_in_safetensors(state: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        export(state, tmp_path / "p.pt")
    with pytest.raises(ValueError, match="does not exist"):
        export(tmp_path / "none.pt", tmp_path / "p.safetensors")


def stored_with(out: Path, *place: str, value: Any) -> None:
    """Change one entry of the card."""
    content = json.loads(out.with_suffix(".json").read_text())
    *parents, last = place
    reduce(getitem, parents, content["card"])[last] = value
    out.with_suffix(".json").write_text(json.dumps(content))


@pytest.mark.parametrize("place", [("steps",), ("training", "data", "path"), ("ema",), ("data_licence",)])
def test_an_earlier_prior_of_the_same_training_may_be_replaced(
    state: Path, tmp_path: Path, place: tuple[str, ...]
) -> None:
    out = tmp_path / "p.safetensors"
    check_target(out, False, state)
    export(state, out)
    check_target(out, False, state)
    stored_with(out, *place, value=19)
    check_target(out, False, state)


@pytest.mark.parametrize(
    "place",
    [("steps",), ("seed",), ("fingerprint",), ("split",), ("initial",), ("training", "optimizer", "lr"), ("training",)],
)
def test_other_priors_may_not(state: Path, tmp_path: Path, place: tuple[str, ...]) -> None:
    out = tmp_path / "p.safetensors"
    export(state, out)
    stored_with(out, *place, value={} if place == ("training",) else 21)
    with pytest.raises(ConfigError, match="no earlier prior of the training"):
        check_target(out, False, state)
    with pytest.raises(ConfigError, match="exists already; give another --out"):
        check_target(out, False)
    check_target(out, True, state)
