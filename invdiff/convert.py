"""`invdiff convert OLD NEW.safetensors`: a checkpoint of another program as a file of ours, with the same denoiser."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from invdiff.networks import described
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.checkpoints import load_prior, read_foreign, recognised, save_prior
from invdiff.priors.container import existing, read_content
from invdiff.priors.network import NetworkPrior
from invdiff.priors.prior import Prior
from invdiff.priors.salvage import open_checkpoint
from invdiff.settings import UsageError, parse_settings

EPILOG = """examples:
  invdiff convert network-snapshot.pkl mine.safetensors
  invdiff convert checkpoint.pt mine.safetensors --set channels=complex2 --set percentile=99
  invdiff convert mine.safetensors half.safetensors --half
"""


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "convert",
        parents=[common],
        help="write a checkpoint of another program as a prior",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path, help="checkpoint: .pt, .pth, .ckpt, .bin, .pkl, .safetensors")
    parser.add_argument("new", type=Path, help="NEW.safetensors; NEW.json is written beside it")
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=VALUE", help="what the file cannot tell; see inspect"
    )
    parser.add_argument("--half", action="store_true", help="store matrices in float16: half the size, D to 1e-3")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the prior whole or not at all, and say what it is."""
    old, new, settings = options.old, options.new, parse_settings(options.set)
    _check_target(old, new, options.force)
    prior, card = _own(old, settings) if _is_own(old) else _foreign(old, settings)
    if not isinstance(prior, (NetworkPrior, AdaptedPrior)):
        raise ValueError(f"{old} is a {type(prior).__name__}, which has no network to convert; it is a file of ours.")
    if not isinstance(prior.net, nn.Module):
        raise ValueError(f"{old} holds a function instead of a network; it cannot be written.")
    network = described(prior.net)
    save_prior(prior, network.pop("name"), network, new, card, half=options.half)
    print(f"wrote {new} and {new.with_suffix('.json').name}; invdiff inspect {new} says what it is")
    return 0


def _check_target(old: Path, new: Path, force: bool) -> None:
    if new.suffix != ".safetensors":
        raise UsageError(f"the new file must end in .safetensors, got {new}.")
    if not new.parent.is_dir():
        raise UsageError(f"the folder {new.parent} does not exist; make it first.")
    if old.is_dir():
        raise UsageError(f"{old} is a folder; load_prior reads those of diffusers as they are, other folders by file.")
    if new.resolve() == old.resolve():
        raise UsageError(f"{new} would replace the file it is made from; give another name.")
    there = existing(new)
    if there and not force:
        raise UsageError(f"{there[0]} exists already; give another name, or --force.")


def _is_own(path: Path) -> bool:
    return path.suffix == ".safetensors" and path.with_suffix(".json").exists()


def _own(path: Path, settings: dict[str, Any]) -> tuple[Prior, dict[str, Any]]:
    return load_prior(path, **settings), dict(read_content(path).get("card", {}))


def _foreign(path: Path, settings: dict[str, Any]) -> tuple[Prior, dict[str, Any]]:
    """The prior, and where it came from."""
    opened = open_checkpoint(path)
    if opened.left_out:
        print(f"left out of {path.name}, neither imported nor run: {', '.join(opened.left_out)}")
    prior = read_foreign(opened.foreign, **settings)
    format = recognised(opened.foreign)
    card = {"source_file": path.name, "source_sha256": _digest(path), "source_format": format.name if format else ""}
    return prior, card | {"options": {name: repr(value) for name, value in settings.items()}}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
