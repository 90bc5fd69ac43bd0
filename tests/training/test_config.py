"""Configurations: what a file may say, and what is refused before any work."""

from dataclasses import replace
from pathlib import Path

import pytest

from invdiff.training.config import Batch, Config
from invdiff.training.toml import ConfigError, differences, make_config, plain, read_config
from tests.training.tiny import TINY


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"optimiser": {}}, "unknown key 'optimiser'. Did you mean 'optimizer'"),
        ({"optimizer": {"learning": 1}}, "unknown key 'optimizer.learning'"),
        ({"network": {"width": [4]}}, "unknown key 'network.width'. Did you mean 'widths'"),
        ({"network": {"architecture": "drunett"}}, "Did you mean 'drunet'"),
        ({"network": {"widths": [4, "a"]}}, r"network.widths\[1\] must be a whole number, got 'a'"),
        ({"network": {"widths": []}}, "makes no drunet"),
        ({"network": {"in_channels": 1}}, "complex images have 2"),
        ({"network": 3}, "network must be a section"),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr must be a number, got 'fast'"),
        ({"optimizer": {"warmup": 2.5}}, "optimizer.warmup must be a whole number"),
        ({"optimizer": {"compile": 1}}, "optimizer.compile must be true or false"),
        ({"optimizer": {"lr": -1}}, "optimizer.lr must be above 0, got -1"),
        ({"optimizer": {"precision": "double"}}, "'auto' or 'fp32' or 'bf16' or 'fp16'"),
        ({"augment": {"scale": [0.5]}}, "augment.scale must be a list of 2 values"),
        ({"augment": {"scale": 0.5}}, "augment.scale must be a list"),
        ({"batch": {"crop": 256}}, "batch.crop must be at least 1 and at most 128"),
        ({"averages": {"widths": [0.1], "export": 0.05}}, "averages.export must be one of"),
        ({"validation": {"fit": 1}}, "at least 2"),
        ({"data": {"channels": "real"}}, "augment.phase makes complex images"),
        ({"data": {"scaling": "window"}}, "for real images"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(table: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(table)


def test_a_file_gives_what_it_says_and_defaults_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("name = 'x'\n[optimizer]\nlr = 1\n[validation]\nsigmas = [1, 0.5]\n")
    config = read_config(path, ["optimizer.warmup=5", "data.unit=mm^-1", "card.data=some words", "batch.size=96"])
    assert (config.name, config.optimizer.lr, config.optimizer.warmup) == ("x", 1.0, 5)
    assert config.validation.sigmas == (1.0, 0.5)
    assert config.data.unit == "mm^-1"
    assert config.card == {"data": "some words"}
    assert config.batch == Batch(size=96)
    assert make_config(plain(config)) == replace(config, validation=config.validation)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("a = ", [], "is not a TOML file"),
        ("", ["optimizer.lr"], "KEY=VALUE"),
        ("name = 'x'", ["name.lr=1"], "name is a value, not a section"),
        ("", ["optimizer.lr=0"], r"c\.toml: optimizer.lr must be above 0"),
    ],
)
def test_faults_of_file_and_settings_are_named(tmp_path: Path, text: str, settings: list[str], message: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config(path, settings)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


def test_differences_name_keys_and_leave_descriptions_out() -> None:
    other = replace(
        TINY,
        name="other",
        card={},
        optimizer=replace(TINY.optimizer, lr=1e-3),
        network={**TINY.network, "blocks": 2},
        data=replace(TINY.data, path="elsewhere.h5"),
    )
    found = differences(plain(TINY), plain(other))
    assert found == ["network.blocks: 1, now 2", "optimizer.lr: 0.003, now 0.001"]
    assert differences(plain(TINY), plain(replace(TINY, domain="x"))) == []


def test_channels_follow_from_the_images() -> None:
    assert Config().n_channels == 2
    real = make_config({"data": {"channels": "real"}, "augment": {"phase": False}})
    assert real.n_channels == 1
