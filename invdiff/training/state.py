"""A training on disk: weights, averages, optimiser, counters, split and configuration in one file, written whole.

Random numbers need no place in it: those of a step are a function of seed and step (`invdiff.training.draws`).
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from invdiff.files import write_whole
from invdiff.training.toml import ConfigError, differences

FORMAT = 2
KEYS = ("config", "seed", "step", "start", "net", "ema", "averages", "optimizer", "split")


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write the state whole or not at all."""
    write_whole(path, lambda partial: torch.save({"format": FORMAT, **content}, partial))


def read_content(path: Path) -> dict[str, Any]:
    """The contents of a file that `torch.save` wrote; no code of it is run.

    Raises:
        ValueError: no such file, or one that holds something else or is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist.") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a training state, or is damaged: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a training state: it holds a {type(content).__name__}.")
    return content


def read_state(path: Path) -> dict[str, Any]:
    """A state that `write_state` wrote.

    Raises:
        ValueError: as `read_content`, or another layout; such a file may serve as initial weights.
    """
    content = read_content(path)
    missing = [key for key in KEYS if key not in content]
    if missing or content.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a state of this version (format {content.get('format')}, missing: "
            f"{', '.join(missing) or 'nothing'}). To begin from its weights: --init {path} with another --state."
        )
    return content


def check_settings(path: Path, kept: Mapping[str, Any], config: Mapping[str, Any], seed: int) -> None:
    """Refuse to go on with another configuration or seed than a state was made with; nothing kept fits everything.

    Raises:
        ConfigError: names every key that differs.
    """
    if not kept:
        return
    found = differences(kept["config"], config) + differences({"seed": kept["seed"]}, {"seed": seed})
    if found:
        raise ConfigError(
            f"{path} was trained with another configuration: {'; '.join(found)}. Set these back, or give another "
            "--state (with --init to begin from these weights)."
        )


def check_data(path: Path, kept: Mapping[str, Any], split: Mapping[str, Any]) -> None:
    """Refuse to go on with other data, or another split of them.

    Raises:
        ConfigError: says what they were and are.
    """
    if kept and kept["split"] != split:
        before, now = (f"{s['train']} and {s['val']} slices, {s['how']}" for s in (kept["split"], split))
        raise ConfigError(
            f"{path} was trained on other data: {before}, fingerprints {kept['split']['fingerprint']}; now {now}, "
            f"fingerprints {split['fingerprint']}. Give the same data, or another --state (with --init to begin from "
            "these weights)."
        )
