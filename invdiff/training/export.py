"""state -> prior: an average of the weights with all that a solver and a reader of its card need to know."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from invdiff.checks import require
from invdiff.priors.checkpoints import save_prior
from invdiff.priors.container import existing, read_content
from invdiff.priors.network import NetworkPrior
from invdiff.training.config import DESCRIPTIVE, Config, Data
from invdiff.training.network import architecture, make_network
from invdiff.training.snapshots import Snapshots
from invdiff.training.state import read_state
from invdiff.training.toml import ConfigError, differences, make_config
from invdiff.units import hu_to_mu

NOT_FOR_DIAGNOSIS = "Not for diagnosis."


def check_target(out: Path | None, overwrite: bool, state: Path | None = None) -> None:
    """Refuse a file that a prior cannot or must not be written to, before the work for it begins.

    Args:
        overwrite: replace whatever prior is there.
        state: of the training that the prior will be of; earlier priors of it are replaced in any case.

    Raises:
        ConfigError: no .safetensors file in a folder that exists, or a prior of something else.
    """
    if out is None or out.suffix != ".safetensors" or not out.parent.is_dir():
        raise ConfigError(f"--out must be a file that ends in .safetensors, in a folder that exists; got {out}.")
    there, kept = existing(out), state if state is not None and state.exists() else None
    if there and not overwrite and not (kept and _replaces(kept, out)):
        what = f" and is no earlier prior of the training in {kept}" if kept else ""
        raise ConfigError(f"{there[0]} exists already{what}; give another --out, or --overwrite.")


def _replaces(state: Path, out: Path) -> bool:
    """Whether OUT is a prior of the training that the state holds, and of no later step."""
    try:
        old = dict(read_content(out).get("card", {}))
    except (ValueError, TypeError):
        return False
    content = read_state(state)
    trained = make_config(content["config"])
    now = card(content, trained, trained, trained.averages.export, "")
    same = all(old.get(name) == now[name] for name in ("split", "fingerprint", "initial", "seed"))
    return same and not differences(old["training"], content["config"]) and old["steps"] <= now["steps"]


def export(
    state: str | Path,
    out: str | Path,
    *,
    width: float | None = None,
    config: Config | None = None,
    command: str = "",
) -> NetworkPrior:
    """Write the prior that a training state holds: OUT.safetensors and OUT.json.

    Args:
        state: file that `train` wrote; its snapshots lie beside it.
        width: relative width of the average, any that the snapshots determine; default `averages.export`.
        config: where given, its name, domain and card describe the prior, instead of those in the state.
        command: what made it, for the card.

    Raises:
        ValueError: no such state, or an average that cannot be made from what is stored.
    """
    state, out = Path(state), Path(out)
    if out.suffix != ".safetensors":
        raise ValueError(f"a prior is written to a file that ends in .safetensors, got {out}.")
    content = read_state(state)
    trained = make_config(content["config"])
    net = make_network(trained)
    wanted = trained.averages.export if width is None else width
    require("width", wanted, above=0, at_most=0.27)
    net.load_state_dict(content["ema"])
    net.load_state_dict(_average(state, content, trained, wanted), strict=False)
    about = config or trained
    prior = make_prior(net, trained, about.domain)
    name, arguments = architecture(trained)
    save_prior(prior, name, arguments, out, card(content, trained, about, wanted, command))
    return prior


def make_prior(net: nn.Module, config: Config, domain: str = "") -> NetworkPrior:
    """The network as a prior, in the units it was trained in."""
    data, noise = config.data, config.noise
    is_window = data.scaling == "window"
    return NetworkPrior(
        net,
        sigma_data=noise.sigma_data,
        complex=data.channels == "complex",
        range=(-1.0, 1.0) if is_window or data.channels == "complex" else (0.0, 1.0),
        sigma_min=2 * noise.min,  # levels beyond the ends were clipped to them, so the ends themselves are not promised
        sigma_max=noise.max,
        percentile=None if is_window else data.percentile,
        window=attenuation(data) if is_window else None,
        domain=domain,
        any_pose=config.augment.flip and config.augment.quarter_turns,
    )


def attenuation(data: Data) -> tuple[float, float]:
    """The window in mm^-1: mu = mu_water (1 + HU / 1000)."""
    low, high = data.window
    if data.unit == "HU":
        return hu_to_mu(low, data.mu_water), hu_to_mu(high, data.mu_water)
    return low, high


def card(content: Mapping[str, Any], trained: Config, about: Config, width: float, command: str) -> dict[str, Any]:
    """What a user should know: data, licence, split, training, validation, limits, and how to make it again."""
    limits = str(about.card.get("limits", ""))
    if NOT_FOR_DIAGNOSIS.lower() not in limits.lower():
        limits = f"{limits} {NOT_FOR_DIAGNOSIS}".strip()
    report = content.get("report") or {}
    split = content["split"]
    counted = f"{split['train']} training and {split['val']} validation slices: {split['how']}"
    return {
        "data": "not stated",
        "data_licence": "not stated",
        **about.card,
        "split": counted,
        "fingerprint": split["fingerprint"],
        "limits": limits,
        "validation_psnr": report.get("psnr"),
        "validation_of": f"average of relative width {trained.averages.export:g} at step {report.get('step')}",
        "validation_analytic": content.get("analytic"),
        "ema": width,
        "steps": content["step"],
        "images": content["images"],
        "initial": content.get("initial"),
        "cost": content.get("cost"),
        "command": command,
        "training": _settings(content["config"]),
        "seed": content["seed"],
    }


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What made the prior, with names of files instead of paths."""
    data = {**config["data"], **{key: Path(config["data"][key]).name for key in ("path", "val")}}
    return {**{key: value for key, value in config.items() if key not in DESCRIPTIVE}, "data": data}


def _average(state: Path, content: Mapping[str, Any], config: Config, width: float) -> dict[str, torch.Tensor]:
    names = [name for name, _ in make_network(config).named_parameters()]
    stored = {config.averages.export: content["ema"]}
    stored |= {float(key): tensors for key, tensors in content["averages"].items()}
    current = {w: {name: tensors[name] for name in names} for w, tensors in stored.items()}
    snapshots = Snapshots(state.parent / content["snapshots"], config.averages.every, config.averages.keep)
    return snapshots.average(content["step"], width, current)
