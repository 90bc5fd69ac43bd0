"""TOML to `Config`: every key is known and every value has its type, or the file is refused before work starts."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invdiff.settings import UsageError
from invdiff.training.config import DESCRIPTIVE, Config
from invdiff.training.network import check_network
from invdiff.training.typed import checked

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class ConfigError(UsageError):
    """A configuration, or a command line, that asks for something that cannot be."""


def read_config(path: str | Path, settings: Sequence[str] = ()) -> Config:
    """The configuration in a TOML file, changed by settings such as "optimizer.lr=3e-4".

    Raises:
        ConfigError: no TOML file; an unknown key (with the nearest known ones), a wrong type or a value out of range.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); give the path of a .toml file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}.") from error
    for setting in settings:
        _apply(table, setting)
    try:
        return make_config(table)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def make_config(table: Mapping[str, Any]) -> Config:
    """A `Config` from nested tables.

    Raises:
        ValueError: an unknown key, a wrong type or a value out of range.
    """
    config: Config = checked(Config, table, "")
    check_network(config)
    return config


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys in which two trainings differ, each as "key: old, now new"; what only describes the prior is left out."""
    a, b = (_flat({k: v for k, v in c.items() if k not in DESCRIPTIVE}) for c in (old, new))
    places = ("data.path", "data.val")  # the data themselves are compared, not where they lie
    keys = [k for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k) and k not in places]
    return [f"{k}: {a.get(k, 'absent')}, now {b.get(k, 'absent')}" for k in keys]


def plain(config: Config) -> dict[str, Any]:
    """The configuration as nested tables of TOML types, what `make_config` takes."""
    tables: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return tables


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in table.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return out


def _apply(table: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"--set takes KEY=VALUE such as optimizer.lr=3e-4, got {setting!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a word without quotes
    *parents, last = key.strip().split(".")
    for part in parents:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {setting}: {part} is a value, not a section.")
    table[last] = value
