"""Priors by name or path: our own files (safetensors and JSON), and checkpoints of other programs."""

import inspect
import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invdiff.checks import nearest
from invdiff.diffusion.precondition import named
from invdiff.networks import build
from invdiff.priors.adapted import FIELDS as ADAPTED
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.analytic import AnalyticPrior
from invdiff.priors.container import as_tuple, not_a_prior, read_content, read_tensors, write_pair
from invdiff.priors.diffusers_folder import DIFFUSERS
from invdiff.priors.edm_file import EDM_FILE
from invdiff.priors.foreign import READERS, Foreign, Format, open_foreign
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.guided import GUIDED
from invdiff.priors.hybrid_file import read_hybrid
from invdiff.priors.local_wiener import LocalWienerPrior
from invdiff.priors.mixture import GaussianMixturePrior
from invdiff.priors.network import FIELDS, NetworkPrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.prior import Prior
from invdiff.priors.reference import restored, stored
from invdiff.priors.score_sde import SCORE_SDE
from invdiff.priors.weights import fill


def available() -> dict[str, dict[str, Any]]:
    """The packaged priors: name to the contents of its JSON file."""
    folder = files("invdiff.data") / "weights"
    cards = {p.name.removesuffix(".json"): p for p in folder.iterdir() if p.name.endswith(".json")}
    return {name: json.loads(cards[name].read_text(encoding="utf8")) for name in sorted(cards)}


@torch.inference_mode(False)  # gradients in x need weights that autograd may keep
def load_prior(name: str | Path, **options: Any) -> Prior:
    """A packaged prior by name, or one from a file or folder; nothing is downloaded and no code of a file is run.

    Args:
        name: of a packaged prior; PATH.safetensors with PATH.json beside it, as `save_prior` writes them; or a
            checkpoint of another program, see `FORMATS`.
        options: what the file cannot tell, or what should be different: attributes of the prior such as percentile and
            domain; for checkpoints of other programs any argument of `AdaptedPrior` and the options of the format, with
            the parameterisation as an object, by name ("velocity") or as {"name": "edm", "sigma_data": 0.3}.

    Raises:
        ValueError: unknown name; a file that is truncated, altered, unknown, unsafe, or does not fit its network.
        TypeError: an option that this kind of prior does not have.
    """
    path = Path(name)
    if path.suffix == ".safetensors":
        return _own(path, options)
    known = available()
    if str(name) in known:
        return _own(Path(str(files("invdiff.data") / "weights" / f"{name}.safetensors")), options)
    if path.suffix in READERS or path.is_dir():
        return read_foreign(open_foreign(path), **options)
    hint = f" A file ends in .safetensors, {', '.join(READERS)}." if path.suffix or len(path.parts) > 1 else ""
    raise ValueError(f"no packaged prior is called {str(name)!r}.{nearest(str(name), known)}{hint}")


def save_prior(
    prior: NetworkPrior | AdaptedPrior,
    network: str,
    config: dict[str, Any],
    path: Path,
    card: dict[str, Any],
    *,
    half: bool = True,
) -> None:
    """Write PATH.safetensors and PATH.json, each whole or not at all.

    Args:
        prior: its `net` is a module.
        network, config: name and arguments of the architecture, as `invdiff.networks.build` takes them.
        card: what a user should know: data, licence, training, validation.
        half: store matrices and kernels in float16, half the size; vectors (frequencies, norms, biases) stay float32.

    Raises:
        ValueError: a weight is not finite, or too large for float16; net is a function.
    """
    if not isinstance(prior.net, nn.Module):
        raise ValueError("only a prior whose net is a torch module can be saved; this one's is a function.")
    if isinstance(prior, AdaptedPrior):
        content = {"kind": "adapted", **prior.to_dict()}
    else:
        content = {"kind": "network", **{field: getattr(prior, field) for field in FIELDS}}
    tensors = {name: _stored(name, t, half) for name, t in prior.net.state_dict().items()}
    write_pair(path, tensors, {**content, "network": {"name": network, **config}, **stored(prior), "card": card})


def _stored(name: str, t: Tensor, half: bool) -> Tensor:
    stored = t.half() if half and t.is_floating_point() and t.ndim > 1 else t
    if not bool(torch.isfinite(stored).all()):
        reason = "is not finite" if not bool(torch.isfinite(t).all()) else "exceeds float16: save with half=False"
        raise ValueError(f"the weight {name} {reason}.")
    return stored


def _own(path: Path, options: dict[str, Any]) -> Prior:
    content = read_content(path)
    kind = str(content.get("kind", "network"))
    if kind not in KINDS:
        raise ValueError(f"{path.with_suffix('.json')} describes a prior of kind {kind!r}.{nearest(kind, KINDS)}")
    prior = KINDS[kind](path, options)
    return prior if {"range", "net_range"} & options.keys() else restored(prior, content)  # in the units of the file


def recognised(foreign: Foreign) -> Format | None:
    """The format of an open checkpoint, where it is one of `FORMATS`."""
    return next((format for format in FORMATS if format.recognise(foreign)), None)


def read_foreign(foreign: Foreign, **options: Any) -> Prior:
    """The prior in an open checkpoint of another program; options and errors as for `load_prior`."""
    chosen = recognised(foreign)
    if chosen is None:
        names = ", ".join(format.name for format in FORMATS)
        raise ValueError(
            f"{foreign.path} is none of the checkpoints that load_prior knows: {names}. Build the network and wrap it: "
            "AdaptedPrior(net, parameterisation)."
        )
    _check_options(chosen.name, options, chosen.read, AdaptedPrior)
    if isinstance(given := options.get("parameterisation"), (str, Mapping)):
        options["parameterisation"] = named(given)
    prior: Prior = chosen.read(foreign, **options)
    return prior


def _check_options(what: str, options: dict[str, Any], *functions: Callable[..., Any]) -> None:
    """Refuse options that are keyword arguments of none of the functions."""
    parameters = [p for f in functions for p in inspect.signature(f).parameters.values()]
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise TypeError(f"{what} has no option {name!r}.{nearest(name, known)}")


def _module(path: Path, content: dict[str, Any]) -> nn.Module:
    """The network that a file of ours describes, with its weights."""
    if not isinstance(content["network"], dict):
        raise TypeError(f"network must be a name with arguments, got {content['network']!r}")
    network = dict(content["network"])
    tensors = read_tensors(path, content.get("sha256"))
    with torch.random.fork_rng(devices=[]):  # a network is initialised before it is filled
        net = build(network.pop("name"), network)
    return fill(net, tensors, str(path))


def _network(path: Path, options: dict[str, Any]) -> Prior:
    _check_options("a prior of kind 'network'", options, NetworkPrior)
    content = {"any_pose": False} | read_content(path)
    try:
        arguments = {field: as_tuple(content[field]) for field in FIELDS}
        net = _module(path, content)
    except (KeyError, TypeError) as error:
        raise not_a_prior(path.with_suffix(".json"), error) from error
    return NetworkPrior(net, **arguments | options)


def _adapted(path: Path, options: dict[str, Any]) -> Prior:
    _check_options("a prior of kind 'adapted'", options, AdaptedPrior)
    content = read_content(path)
    try:
        arguments = {field: content[field] for field in ("parameterisation", *ADAPTED)}
        return AdaptedPrior.from_dict(_module(path, content), arguments, **options)
    except (KeyError, TypeError) as error:
        raise not_a_prior(path.with_suffix(".json"), error) from error


def _analytic(cls: type[AnalyticPrior]) -> Callable[[Path, dict[str, Any]], Prior]:
    def read(path: Path, options: dict[str, Any]) -> Prior:
        _check_options(f"a prior of kind {cls.kind!r}", options, cls.describe)
        return cls.load(path).describe(**options)

    return read


KINDS: dict[str, Callable[[Path, dict[str, Any]], Prior]] = {
    "network": _network,
    "adapted": _adapted,
    "patch-mixture": _analytic(PatchMixturePrior),
    "gaussian": _analytic(GaussianPrior),
    "gaussian-mixture": _analytic(GaussianMixturePrior),
    "local-wiener": _analytic(LocalWienerPrior),
    "hybrid": lambda path, options: read_hybrid(path, options, _own),
}

# The first that recognises a checkpoint reads it.
FORMATS: tuple[Format, ...] = (GUIDED, EDM_FILE, SCORE_SDE, DIFFUSERS)
