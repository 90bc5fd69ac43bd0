"""`invdiff train CONFIG --data PATH --out PRIOR.safetensors`: from images to a prior."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

from tqdm import tqdm

from invdiff.training.config import Config
from invdiff.training.distributed import is_first_process
from invdiff.training.export import check_target, export
from invdiff.training.toml import ConfigError, read_config
from invdiff.training.train import train

EPILOG = """examples:
  invdiff train ct.toml --data slices.h5 --max-time 25m --out ct.safetensors
  invdiff train ct.toml --data slices.h5 --steps 100000 --set optimizer.lr=3e-4
  invdiff train ct.toml --export-only --ema 0.07 --out ct.safetensors
  torchrun --nproc-per-node 8 -m invdiff train ct.toml --data slices.h5 --steps 100000 --device cuda
"""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "train",
        parents=[common],
        help="train a prior on images",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("config", type=Path, help="TOML file; recipes/train/ has two")
    add("--data", type=Path, help="images: HDF5, fastMRI, npy, npz, PNG, DICOM or NIfTI, a file or a folder")
    add("--val", type=Path, help="held-out images, where the data have no part val and no subjects")
    add("--state", type=Path, help="checkpoint, resumed where it exists (default: CONFIG's stem and .pt, here)")
    add("--steps", type=int, help="optimiser steps, in all sessions")
    add("--max-time", type=_duration, metavar="TIME", help="length of this session, such as 25m or 1h30m")
    add(
        "--resume",
        choices=("auto", "yes", "no"),
        default="auto",
        help="yes and no refuse the other case (default auto)",
    )
    add("--init", type=Path, help="begin from these weights: a prior (.safetensors) or another state")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change CONFIG, such as optimizer.lr=3e-4")
    add("--export-only", action="store_true", help="write --out from the state as it is")
    add("--overwrite", action="store_true", help="replace a prior that is not of this training")
    add("--ema", type=float, metavar="WIDTH", help="relative width of the average to export (default: CONFIG's)")
    add("--memory", type=float, default=4.0, metavar="GIB", help="for slices, in each process (default 4)")
    add("--report-every", type=_duration, default=600.0, metavar="TIME", help="between reports (default 10m)")
    add("--tensorboard", type=Path, metavar="DIR", help="write curves for TensorBoard")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, then export; exit status 128 + n after signal n, with the state saved."""
    config = read_config(options.config, options.set)
    state = options.state or Path(f"{options.config.stem}.pt")
    _check(options, state)
    if not options.export_only:
        outcome = train(
            config,
            options.data,
            state,
            val=options.val,
            steps=options.steps,
            max_seconds=options.max_time,
            seed=options.seed,
            device=options.device,
            resume=options.resume,
            init=options.init,
            memory=options.memory,
            report_every=options.report_every,
            on_record=_show,
            tensorboard=options.tensorboard,
        )
        if outcome.signal or outcome.stopped == "signal":
            _say(f"stopped at step {outcome.step}; {state} is saved. The same command goes on from there.")
            return 128 + outcome.signal
    if options.out is not None and is_first_process():
        _export(options, config, state)
    return 0


def _export(options: argparse.Namespace, config: Config, state: Path) -> None:
    export(state, options.out, width=options.ema, config=config, command=reproduce(options))
    _say(f"wrote {options.out} and {options.out.with_suffix('.json').name}")


def reproduce(options: argparse.Namespace) -> str:
    """The command, with names of files instead of paths."""
    words = ["invdiff", "train", options.config.name, "--seed", str(options.seed)]
    for name in ("data", "val", "init"):
        value = getattr(options, name)
        words += [] if value is None else [f"--{name}", value.name]
    words += [] if options.steps is None else ["--steps", str(options.steps)]
    words += [] if options.max_time is None else ["--max-time", f"{options.max_time:g}s"]
    for setting in options.set:
        words += ["--set", setting]
    words += [] if options.ema is None else ["--ema", f"{options.ema:g}"]
    return shlex.join([*words, "--out", options.out.name])


def _check(options: argparse.Namespace, state: Path) -> None:
    """Refuse what could not, or must not, be written at the end."""
    if options.out is not None:
        check_target(options.out, options.overwrite, state)
    elif options.export_only:
        raise ConfigError("--export-only needs --out PRIOR.safetensors.")
    elif options.ema is not None:
        raise ConfigError("--ema says which average --out is made from; give --out PRIOR.safetensors.")


def _duration(text: str) -> float:
    """Seconds from 1h30m, 25m, 90s."""
    found = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in found)
    if "".join(number + unit for number, unit in found) != text or seconds <= 0:
        raise argparse.ArgumentTypeError(f"a time is written like 25m, 90s or 1h30m, got {text!r}")
    return seconds


def _show(record: dict[str, Any]) -> None:
    if record["event"] == "begin":
        empty = f"; {record['empty']} without content left out" if record["empty"] else ""
        read = "" if record["kept"] == record["train"] else f"; {record['kept']} kept in memory, others read when drawn"
        _say(f"{record['train']} training and {record['val']} held-out slices ({record['how']}{empty}{read})")
        _say(f"{record['device']}, {record['precision']}, processes: {record['processes']}; from step {record['step']}")
    elif record["event"] == "report":
        loss = "-" if record["loss"] is None else f"{record['loss']:.3f}"
        _say(f"step {record['step']}, {record['images']} images, {record['seconds']:.0f} s, loss {loss}; PSNR in dB:")
        for name, table in {"network": record["psnr"], **record["analytic"]}.items():
            _say(f"  {name:20}" + "  ".join(f"{sigma}: {value:.2f}" for sigma, value in table.items()))


def _say(text: str) -> None:
    if is_first_process():
        tqdm.write(text)
