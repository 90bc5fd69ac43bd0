"""Train a prior on fastMRI images: what `invdiff train` does, with the data set's folders and a settled configuration.

    python recipes/fastmri_train_prior.py /data/fastmri/multicoil_train --val /data/fastmri/multicoil_val \
        --device cuda --max-time 24 --out fastmri-brain.safetensors

Training images are the stored references times random smooth phase, so that the prior is one of complex images; the
subject is the file's `patient_id`. The state file is resumed where it exists; Ctrl-C saves it. What can be set is in
recipes/train/fastmri.toml and in `invdiff train --help`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from invdiff.training import export, read_config, train
from invdiff.training.export import check_target

CONFIG = Path(__file__).parent / "train" / "fastmri.toml"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _arguments(arguments)
    config = read_config(options.config, options.set)
    check_target(options.out, options.overwrite, options.state)
    outcome = train(
        config,
        options.data,
        options.state,
        val=options.val,
        steps=options.steps,
        max_seconds=None if options.max_time is None else 3600 * options.max_time,
        seed=options.seed,
        device=options.device,
        report_every=options.report_every,
        on_record=show,
    )
    if outcome.signal:
        print(
            f"stopped by signal {outcome.signal} at step {outcome.step}; the same command goes on from {outcome.state}"
        )
        return 128 + outcome.signal
    export(options.state, options.out, config=config, command="python recipes/fastmri_train_prior.py")
    print(f"wrote {options.out} after {outcome.step} steps")
    return 0


def show(record: dict[str, Any]) -> None:
    line = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in record.items()
                     if isinstance(v, int | float | str))  # fmt: skip
    tqdm.write(line)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of fully sampled files")
    parser.add_argument("--val", type=Path, help="folder of held-out files (default: a share of the patients)")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--state", type=Path, default=Path("fastmri.pt"))
    parser.add_argument("--out", type=Path, default=Path("fastmri.safetensors"))
    parser.add_argument("--overwrite", action="store_true", help="replace a prior that is not of this training")
    parser.add_argument("--steps", type=int, help="optimiser steps, in all sessions")
    parser.add_argument("--max-time", type=float, metavar="HOURS", help="length of this session")
    parser.add_argument("--report-every", type=float, default=600, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the configuration")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
