"""Priors as files: weights in safetensors (half precision), everything else in a JSON file of the same stem."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from invdiff.checks import nearest
from invdiff.networks import build
from invdiff.priors.container import as_tuple, not_a_prior, read_content, read_tensors, write_pair
from invdiff.priors.network import NetworkPrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.prior import Prior

FIELDS = ("sigma_data", "complex", "range", "sigma_min", "sigma_max", "shape", "percentile", "window", "domain")


def available() -> dict[str, dict[str, Any]]:
    """The packaged priors: name to the contents of its JSON file."""
    folder = files("invdiff.data") / "weights"
    cards = {p.name.removesuffix(".json"): p for p in folder.iterdir() if p.name.endswith(".json")}
    return {name: json.loads(cards[name].read_text(encoding="utf8")) for name in sorted(cards)}


def load_prior(name: str | Path) -> Prior:
    """A packaged prior by name, or one from a file PATH.safetensors with PATH.json beside it; no download.

    Raises:
        ValueError: unknown name; a weight file that is truncated, altered (SHA-256) or does not fit its architecture.
    """
    path = Path(name)
    if path.suffix == ".safetensors":
        return _read(path)
    known = available()
    if str(name) not in known:
        hint = " To load a file, give the path of its .safetensors." if path.suffix or len(path.parts) > 1 else ""
        raise ValueError(f"no packaged prior is called {str(name)!r}.{nearest(str(name), known)}{hint}")
    return _read(Path(str(files("invdiff.data") / "weights" / f"{name}.safetensors")))


def save_prior(prior: NetworkPrior, network: str, config: dict[str, Any], path: Path, card: dict[str, Any]) -> None:
    """Write PATH.safetensors (float16) and PATH.json, each whole or not at all.

    Args:
        network, config: name and arguments of the architecture, as `invdiff.networks.build` takes them.
        card: what a user should know: data, licence, training, validation.
    """
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in prior.net.state_dict().items()}
    content = {
        "kind": "network",
        "network": {"name": network, **config},
        **{field: getattr(prior, field) for field in FIELDS},
        "card": card,
    }
    write_pair(path, tensors, content)


def _read(path: Path) -> Prior:
    content = read_content(path)
    if content.get("kind") == "patch-mixture":
        return PatchMixturePrior.load(path)
    try:
        network = dict(content["network"])
        arguments = {field: as_tuple(content[field]) for field in FIELDS}
    except (KeyError, ValueError, TypeError) as error:
        raise not_a_prior(path.with_suffix(".json"), error) from error
    tensors = read_tensors(path, content.get("sha256"))
    net = build(network.pop("name"), network)
    wanted = net.state_dict()
    wrong = [k for k in wanted if k not in tensors or tensors[k].shape != wanted[k].shape] + sorted(
        tensors.keys() - wanted
    )
    if wrong:
        raise ValueError(
            f"{path} does not fit the network that {path.stem}.json describes; first of {len(wrong)}: {wrong[0]}."
        )
    net.load_state_dict({k: v.to(wanted[k].dtype) for k, v in tensors.items()})
    return NetworkPrior(net, **arguments)


def export(state: Path, path: Path, domain: str, percentile: float, card: dict[str, Any]) -> NetworkPrior:
    """Make a prior from the averaged network of a training state file and save it at `path`."""
    content = torch.load(state, weights_only=True)
    config = content["config"]
    net = build("drunet", config["network"])
    net.load_state_dict(content["ema"])
    prior = NetworkPrior(
        net,
        sigma_data=config["sigma_data"],
        complex=True,
        sigma_min=2 * config["sigma_min"],
        sigma_max=config["sigma_max"],
        percentile=percentile,
        domain=domain,
    )
    save_prior(prior, "drunet", config["network"], path, {**card, "training": config, "steps": content["step"]})
    return prior
