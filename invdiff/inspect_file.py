"""`invdiff inspect PATH`: what a file or folder is, and whether it is a prior; nothing that it carries is run."""

import argparse
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from invdiff.inspect_data import Row, described_data
from invdiff.networks import described
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.checkpoints import available, load_prior, read_foreign, recognised
from invdiff.priors.container import read_content
from invdiff.priors.edm_file import tensors_of
from invdiff.priors.foreign import READERS
from invdiff.priors.network import NetworkPrior
from invdiff.priors.pickled_objects import Record
from invdiff.priors.prior import Prior
from invdiff.priors.salvage import Opened, open_checkpoint
from invdiff.settings import parse_settings
from invdiff.training.state import KEYS

WIDTH = 13  # of the left column
EPILOG = """examples:
  invdiff inspect scan.h5
  invdiff inspect dicom_folder/
  invdiff inspect brain-mri
  invdiff inspect checkpoint.pt --set channels=complex2
"""


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "inspect",
        parents=[common],
        help="say what a prior, checkpoint or data file is",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", help="file, folder, or name of a packaged prior")
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of load_prior to try"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what it is; 1 where it is neither a usable prior nor data."""
    path, settings = Path(options.path), parse_settings(options.set)
    for label, text in _about(str(options.path), path, settings):
        print(f"{label:{WIDTH}} {text}", flush=True)
    return 0


def _about(name: str, path: Path, settings: dict[str, Any]) -> Iterator[Row]:
    """Label and text, line by line.

    Raises:
        ValueError: it is none of the things that can be told, or a checkpoint that is no usable prior.
    """
    if name in available() and not path.exists():
        yield from _own(name, available()[name], settings)
    elif path.suffix == ".safetensors" and path.with_suffix(".json").exists():
        yield from _own(path, read_content(path), settings)
    elif _may_be_checkpoint(path):
        yield from _checkpoint(path, settings)
    else:
        yield from _data(path)


def _may_be_checkpoint(path: Path) -> bool:
    if path.is_dir():
        return recognised(open_checkpoint(path).foreign) is not None
    return path.suffix in (".safetensors", *READERS)


def _own(name: str | Path, content: dict[str, Any], settings: dict[str, Any]) -> Iterator[Row]:
    yield "file", f"{name}: a prior of ours, kind {content.get('kind', 'network')}"
    yield from _prior(load_prior(name, **settings))
    for key, value in dict(content.get("card", {})).items():
        yield from _entry(key.replace("_", " "), value)


def _entry(label: str, value: Any) -> Iterator[Row]:
    """An entry of a card; one of several parts takes a line for each."""
    if not isinstance(value, Mapping) or not any(isinstance(part, Mapping) for part in value.values()):
        yield label, _text(value)
        return
    for name, part in value.items():
        yield label, f"{name}: {_text(part)}"
        label = ""


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_text(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _checkpoint(path: Path, settings: dict[str, Any]) -> Iterator[Row]:
    opened = open_checkpoint(path)
    yield "file", f"{path}: {opened.container}{_size(path)}"
    yield from _contents(opened)
    content = opened.foreign.content
    if isinstance(content, Mapping) and all(key in content for key in KEYS):
        yield "format", f"a state of invdiff train, step {content['step']}"
        yield "to use it", f"invdiff train CONFIG --state {path} --export-only --out PRIOR.safetensors"
        return
    chosen = recognised(opened.foreign)
    yield "format", "not known" if chosen is None else chosen.name
    prior = read_foreign(opened.foreign, **settings)
    yield from _prior(prior)
    if chosen is not None:
        yield from _options(chosen.read, settings)
    if opened.left_out:
        yield "to use it", f"invdiff convert {path.name} {path.stem}.safetensors (load_prior refuses the file itself)"


def _contents(opened: Opened) -> Iterator[Row]:
    content = opened.foreign.content
    if isinstance(content, Record):
        yield "holds", f"a pickled {content.kind}"
    elif isinstance(content, Mapping) and not all(isinstance(value, Tensor) for value in content.values()):
        yield "holds", _listed(f"{k} ({v.kind})" if isinstance(v, Record) else str(k) for k, v in content.items())
    tensors = tensors_of(content)
    if tensors:
        yield "tensors", f"{len(tensors)}, {sum(t.numel() for t in tensors.values()):,} numbers: {_listed(tensors)}"
    if opened.left_out:
        yield "unsafe", f"asks for {_listed(opened.left_out)}; none of it was imported or run"


def _prior(prior: Prior) -> Iterator[Row]:
    net = getattr(prior, "net", None)
    if isinstance(net, nn.Module):
        yield "network", f"{type(net).__name__}, {sum(p.numel() for p in net.parameters()):,} parameters"
        yield from _architecture(net)
    else:
        yield "prior", type(prior).__name__
    if isinstance(prior, AdaptedPrior):
        yield "predicts", str(prior.parameterisation)
        seen = f"values {_pair(prior.net_range)} in {prior.net_channels or 'any'} channels ({prior.channels})"
        yield "sees", f"{seen}, sides padded to multiples of {prior.multiple}"
    elif isinstance(prior, NetworkPrior):
        yield "predicts", f"EDM(sigma_data={prior.sigma_data:g})"
    yield "noise levels", f"{_pair((prior.sigma_min, prior.sigma_max))}, in units of the values"
    yield "values", _pair(prior.range)
    shape = ", ".join("any" if n is None else str(n) for n in prior.shape or (None, None, None))
    yield "images", f"{'complex' if prior.complex else 'real'}, (channels, height, width) = ({shape})"
    yield "scale", _scale(prior)
    yield "domain", prior.domain or "not stated: domain='...'"


def _architecture(net: nn.Module) -> Iterator[Row]:
    try:
        arguments = described(net)
    except ValueError:
        return
    yield "", ", ".join(f"{name}={value}" for name, value in arguments.items() if name != "name")


def _scale(prior: Prior) -> str:
    if prior.percentile is not None:
        return f"percentile {prior.percentile:g} of |x| is 1"
    if prior.window is not None:
        return f"the values stand for {_pair(prior.window)} (mm^-1)"
    return (
        "not stated: images are taken to be in the units of the training; percentile=99 where it scaled each by that "
        "percentile of |x|, window=(low, high) where the values stand for attenuations"
    )


def _options(read: Callable[..., Prior], settings: dict[str, Any]) -> Iterator[Row]:
    """What the file does not tell or may be wrong about, with what was taken; None is what the format mostly has."""
    parameters = inspect.signature(read).parameters.values()
    taken = [f"{p.name}={p.default!r}" for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in settings]
    common = "channels, net_range, sigma_min, sigma_max, percentile, window, domain"
    yield "may be set", ", ".join((*taken, common))


def _data(path: Path) -> list[Row]:
    if not path.exists():
        raise ValueError(f"{path} does not exist, and no packaged prior is called so.")
    try:
        return described_data(path)
    except ValueError as error:
        endings = ", ".join((".safetensors", *READERS))
        raise ValueError(
            f"{path} is no prior (these end in {endings}) and no data that can be read. {error}"
        ) from error


def _size(path: Path) -> str:
    return "" if path.is_dir() else f", {path.stat().st_size / 1e6:.1f} MB"


def _pair(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.4g} to {pair[1]:.4g}"


def _listed(names: Iterable[str], limit: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
