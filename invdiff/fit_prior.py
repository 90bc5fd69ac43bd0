"""`invdiff fit-prior SOURCE --out PRIOR.safetensors`: a prior in closed form from a few hundred images, in minutes.

No training: expectation maximisation or moments of the images, checked by denoising images of held-out subjects.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from invdiff.data.images import open_images
from invdiff.training.closed_form import KINDS, Fit, fit_prior, validate
from invdiff.training.config import Data
from invdiff.training.export import NOT_FOR_DIAGNOSIS, check_target
from invdiff.training.slices import Slices
from invdiff.training.split import Split, by_subject, open_split
from invdiff.training.toml import ConfigError
from invdiff.training.validate import Table

EPILOG = """examples:
  invdiff fit-prior slices.h5 --complex --out brain.safetensors
  invdiff fit-prior dicom_folder/ --window -1000 1000 --size 128 256 --out ct.safetensors
  invdiff fit-prior aligned.h5 --kind wiener --out atlas.safetensors
"""
HU = (-1000.0, 1000.0)
MEMORY = 2 * 2**30  # bytes for slices
HELD_OUT = 16  # images


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "fit-prior",
        parents=[common],
        help="fit a closed-form prior to images",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", type=Path, help="images: HDF5, fastMRI, npy, npz, PNG, DICOM or NIfTI, a file or a folder")
    add(
        "--kind",
        choices=tuple(KINDS),
        default="patch-mixture",
        help="default patch-mixture; wiener wants aligned images",
    )
    add("--part", default="train", help="part of the images to fit to (default train, or all where there are no parts)")
    add("--val", type=Path, help="held-out images, where the source has no part val and no subjects")
    add("--no-validation", action="store_true", help="fit to all images, hold none out")
    add("--complex", action="store_true", help="a prior of complex images; the phase of magnitudes counts as unknown")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--percentile", type=float, default=99.5, help="of each image, becomes 1 (default 99.5)")
    scale.add_argument("--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="becomes (-1, 1); for CT in HU")
    add("--unit", choices=("HU", "mm^-1"), default="HU", help="of --window (default HU)")
    add("--size", type=int, nargs="+", default=[128], help="sides images are averaged to; several for patches only")
    add("--count", type=int, default=400, help="images used (default 400)")
    add(
        "--balance",
        type=float,
        default=0.5,
        help="weight of a slice: slices of its subject to the power -B (default 0.5)",
    )
    add("--components", type=int, default=64, help="of the patch mixture (default 64)")
    add("--rank", type=int, help="kept directions (default 16 for patches, 50 for gaussian)")
    add("--patch", type=int, default=8, help="side of a patch or block (default 8)")
    add("--stride", type=int, help="between them (default 2, half a block for wiener)")
    add("--patches", type=int, default=50_000, help="patches drawn for the patch mixture (default 50000)")
    add("--domain", default="", help="a sentence on what images the prior knows")
    add("--licence", default="not stated", help="of the images, for the card")
    add("--overwrite", action="store_true", help="replace an existing prior")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fit, validate, write."""
    _check(options)
    source = open_images(options.source)
    fit = _fit(options, source.unit == "HU")
    split = _split(options, fit)
    train = Slices(split.train, fit.data, MEMORY, "training images")
    has_phase = fit.is_complex and source.kind == "complex"
    prior = fit_prior(fit, train, has_phase).describe(domain=options.domain)
    tqdm.write(f"{fit.kind} of {min(fit.count, len(train))} of {len(train)} images: {split.how}")
    table: Table = {}
    if not options.no_validation:
        held_out = Slices(split.val, fit.data, MEMORY, "held-out images")
        table = validate(fit, prior, held_out, has_phase, HELD_OUT)
        tqdm.write("held-out PSNR in dB  " + "  ".join(f"{sigma}: {value:.2f}" for sigma, value in table.items()))
    prior.save(options.out, card(split, options.licence, reproduce(options), table))
    tqdm.write(f"wrote {options.out} and {options.out.with_suffix('.json').name}")
    return 0


def card(split: Split, licence: str, command: str, table: Table) -> dict[str, Any]:
    """What a user should know of a fitted prior."""
    return {
        "data": split.train.describe(),
        "data_licence": licence,
        "split": split.how,
        "command": command,
        "validation_psnr": table or None,
        "limits": NOT_FOR_DIAGNOSIS,
    }


def _check(options: argparse.Namespace) -> None:
    """Refuse what could not, or must not, be written at the end."""
    check_target(options.out, options.overwrite)
    if options.complex and options.window is not None:
        raise ConfigError("--window is for real images such as CT, and --complex for MRI; give one of them.")
    if options.no_validation and options.val is not None:
        raise ConfigError("--no-validation holds nothing out, and --val names what to hold out; give one of them.")


def _fit(options: argparse.Namespace, is_hu: bool) -> Fit:
    window = options.window or (HU if is_hu else None)
    if is_hu and options.complex:
        raise ConfigError(f"{options.source} holds Hounsfield units, which are real; leave out --complex.")
    data = Data(
        path=str(options.source),
        val="" if options.val is None else str(options.val),
        scaling="percentile" if window is None else "window",
        percentile=options.percentile,
        window=HU if window is None else (window[0], window[1]),
        unit=options.unit,
        channels="complex" if options.complex else "real",
        balance=options.balance,
    )
    names = ("kind", "count", "components", "rank", "patch", "stride", "patches", "seed")
    return Fit(data, sizes=tuple(options.size), **{name: getattr(options, name) for name in names})


def _split(options: argparse.Namespace, fit: Fit) -> Split:
    if options.no_validation or options.part != "train":
        source = open_images(options.source)
        source = source.part(options.part) if source.parts or options.part != "train" else source
        if options.no_validation:
            return Split(source, source, "nothing held out", [])
        return by_subject(source, fit.data.val_share, options.seed)
    return open_split(fit.config(fit.sizes[0], fit.is_complex), options.seed)


def reproduce(options: argparse.Namespace) -> str:
    """The command, with names of files instead of paths."""
    words: Sequence[object] = ["invdiff", "fit-prior", options.source.name, "--kind", options.kind]
    for name in ("part", "unit", "count", "balance", "components", "rank", "patch", "stride", "patches", "seed"):
        value = getattr(options, name)
        words = words if value is None else [*words, f"--{name}", value]
    words = [*words, *(["--val", options.val.name] if options.val else []), *(["--complex"] if options.complex else [])]
    scale = ["--percentile", options.percentile] if options.window is None else ["--window", *options.window]
    return shlex.join(str(word) for word in [*words, *scale, "--size", *options.size, "--out", options.out.name])
