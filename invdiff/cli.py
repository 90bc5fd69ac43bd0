"""`invdiff COMMAND`: demo, reconstruct, evaluate, train, fit-prior, inspect, convert, doctor, methods, priors.

Exit status: 0 all good, 1 an item failed, 2 wrong usage, 130 interrupted (by another signal n: 128 + n).
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

import invdiff
from invdiff import convert, demo, doctor, evaluate, fit_prior, inspect_file, reconstruct
from invdiff.priors.checkpoints import available
from invdiff.settings import UsageError, seed, whole
from invdiff.solvers import METHODS
from invdiff.training import command as training

EPILOG = """examples:
  invdiff demo
  invdiff reconstruct scan.h5 --acceleration 4 --method sitcom
  invdiff reconstruct undersampled.h5 --method dds --set steps=100 --out result.h5
  invdiff reconstruct radial.h5 --whiten --gains --spokes 23 --method tv
  invdiff evaluate reconstructions/ multicoil_val/
  invdiff doctor
"""

METHODS_EPILOG = """examples:
  invdiff methods
  invdiff reconstruct scan.h5 --method dds
"""
PRIORS_EPILOG = """examples:
  invdiff priors
  invdiff inspect brain-mri
  invdiff reconstruct scan.h5 --prior brain-mri-hybrid
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors become one sentence on stderr unless --debug asks for the traceback."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        if options.run is not doctor.run:  # which reports on devices that are not there
            _check_device(options.device)
        with _warned(options.debug):
            return int(options.run(options))
    except KeyboardInterrupt:
        print("invdiff: interrupted; nothing partial was written.", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            raise
        if not isinstance(error, (ValueError, TypeError, OSError, RuntimeError, ImportError)):
            print("invdiff: an unexpected fault; run again with --debug and report it.", file=sys.stderr)
        print(f"invdiff: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


@contextmanager
def _warned(in_full: bool) -> Iterator[None]:
    """Warnings as one sentence on stderr, without the line of code that they came from."""
    usual = warnings.formatwarning
    if not in_full:
        warnings.formatwarning = lambda message, *place: f"invdiff: warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def make_parser() -> argparse.ArgumentParser:
    """The parser of `invdiff` with all its commands."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=seed, default=0, help="random seed (default 0)")
    common.add_argument("--device", default="cpu", help="cpu, cuda, mps ... (default cpu)")
    common.add_argument("--threads", type=whole, help="CPU threads (default: as PyTorch chooses)")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common.add_argument("--out", type=Path, help="where the output goes")
    common.set_defaults(version=invdiff.__version__)
    parser = argparse.ArgumentParser(
        prog="invdiff",
        description="Inverse problems in medical imaging with one diffusion prior.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"invdiff {invdiff.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo.add_command(commands, common)
    reconstruct.add_command(commands, common)
    evaluate.add_command(commands, common)
    training.add_command(commands, common)
    fit_prior.add_command(commands, common)
    inspect_file.add_command(commands, common)
    convert.add_command(commands, common)
    doctor.add_command(commands, common)
    methods = commands.add_parser(
        "methods",
        parents=[common],
        help="list the methods and what they need",
        epilog=METHODS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    methods.set_defaults(run=_methods)
    priors = commands.add_parser(
        "priors",
        parents=[common],
        help="list the packaged priors",
        epilog=PRIORS_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    priors.set_defaults(run=_priors)
    return parser


def _check_device(name: str) -> None:
    """Refuse a device that torch does not know, or that is not here."""
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise UsageError(f"--device {name}: torch knows no such device; give cpu, cuda, cuda:1 or mps.") from error
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(kind, True):
        raise UsageError(f"--device {name}: there is none that this torch can use; invdiff doctor says why.")


def _methods(options: argparse.Namespace) -> int:
    width = max(map(len, METHODS))
    for name, method in METHODS.items():
        needs = [text for flag, text in ((method.prior, "prior"), (method.linear, "linear operator")) if flag]
        print(f"{name:{width}} {method.summary}" + (f"  [needs: {', '.join(needs)}]" if needs else ""))
    return 0


def _priors(options: argparse.Namespace) -> int:
    for name, content in available().items():
        print(f"{name:18}{content['domain']}")
    return 0
