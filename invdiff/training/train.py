"""for step: theta <- theta - lr grad loss(theta); now and then validate, draw, save.

`train` is what the command `invdiff train` runs, and does the same when called.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from invdiff.checks import require
from invdiff.training.batches import Batches
from invdiff.training.clock import Clock
from invdiff.training.config import Config
from invdiff.training.distributed import World, joined
from invdiff.training.initial import read_initial
from invdiff.training.keeper import Keeper
from invdiff.training.log import Progress
from invdiff.training.run import Run
from invdiff.training.slices import Slices
from invdiff.training.split import open_split
from invdiff.training.state import check_data, check_settings, read_state
from invdiff.training.stop import Interrupt
from invdiff.training.toml import ConfigError, plain, read_config

Record = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a session of training ended.

    state: the file. step: optimiser steps behind the weights. stopped: "steps", "time" or "signal"; signal: its number
    or 0. report: the last one.
    """

    state: Path
    step: int
    stopped: str
    signal: int
    report: Record | None


def train(
    config: Config | str | Path,
    data: str | Path | None = None,
    state: str | Path = "state.pt",
    *,
    val: str | Path | None = None,
    steps: int | None = None,
    max_seconds: float | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    resume: Literal["auto", "yes", "no"] = "auto",
    init: str | Path | None = None,
    memory: float = 4.0,
    report_every: float = 600.0,
    on_record: Callable[[Record], None] | None = None,
    tensorboard: str | Path | None = None,
) -> Outcome:
    """Train until `steps` or `max_seconds`, or until SIGINT or SIGTERM, going on from the file `state` where it exists.

    Under torchrun all processes call this alike. The result is a function of configuration, data, seed and steps; a
    training that is interrupted and resumed on a CPU has the same weights, to the bit, as one that was not, unless the
    learning rate follows the time (a cooldown without `steps`).

    Args:
        config: a `Config`, or a TOML file.
        data, val: replace `config.data.path` and `config.data.val`.
        state: checkpoint, rewritten whole at every report and at the end. Beside it appear a log (.jsonl), the state
            that validated best (.best.pt), pictures (.denoised.png, .samples.png) and a folder of averages.
        steps: optimiser steps of the training, in all sessions.
        max_seconds: length of this session, validation at its end not counted.
        resume: "yes" and "no" refuse where there is no state, or one.
        init: weights to begin a new training from: a prior, or another training state.
        memory: GiB, in each process, to keep slices in; those beyond are read when they are drawn.
        report_every: seconds between reports.
        on_record: receives, in the first process, what the log gets: records with event "begin", "report" and "end".
        tensorboard: folder for TensorBoard, where that is installed.

    Raises:
        ConfigError: arguments, configuration or data that do not fit each other or the state.
        ValueError: files that cannot be used.
        RuntimeError: no finite gradient for many steps.
    """
    if steps is None and max_seconds is None:
        raise ConfigError("how long? Give steps (--steps N), max_seconds (--max-time 25m), or both.")
    require("steps", 0 if steps is None else steps, at_least=0)
    require("max_seconds", 1 if max_seconds is None else max_seconds, above=0)
    config, state = _resolved(config, data, val), Path(state)
    kept = _kept(state, resume, init)
    check_settings(state, kept, plain(config), seed)
    initial = None if init is None else read_initial(Path(init), config.noise.sigma_data)
    with joined(device) as world:
        run = Run(config, seed, world, initial)
        run.load(kept)
        slices, held_out, split = _open(config, seed, memory, world)
        check_data(state, kept, split)
        batches = Batches(slices, config, seed, rank=world.rank, world=world.size, device=world.device)
        clock, keeper = Clock(world, run.start, steps, max_seconds), None
        if world.is_first:
            began = initial.record() if initial else kept.get("initial")
            made_with = {"config": plain(config), "seed": seed, "split": split, "initial": began}
            keeper = Keeper(state, run, slices, held_out, made_with, kept, on_record, tensorboard)
        with Interrupt() as interrupt:
            reason = _loop(run, batches, clock, keeper, interrupt, report_every)
            report = keeper.finish(clock, reason) if keeper else None
    return Outcome(state, run.step, reason, interrupt.signal, report)


def _loop(
    run: Run, batches: Batches, clock: Clock, keeper: Keeper | None, interrupt: Interrupt, report_every: float
) -> str:
    """Optimiser steps until the training is over; why it is."""
    progress, last = Progress(clock, run.step, quiet=keeper is None), 0.0
    ahead = batches.steps(run.step + 1)
    try:
        while not (reason := clock.over(run.step)):
            parts = next(ahead)
            loss = clock.tick(run.advance(parts, clock.done(run.step + 1)), interrupt.signal)
            progress.update(parts[0].draw.count, loss)
            if keeper is None:
                continue
            keeper.after_step(loss)
            if clock.seconds - last >= report_every and not clock.over(run.step):
                keeper.report(clock)
                last = clock.seconds
    finally:
        ahead.close()
        progress.close()
    return reason


def _resolved(config: Config | str | Path, data: str | Path | None, val: str | Path | None) -> Config:
    config = config if isinstance(config, Config) else read_config(config)
    path, other = (old if new is None else str(new) for new, old in ((data, config.data.path), (val, config.data.val)))
    return replace(config, data=replace(config.data, path=path, val=other))


def _kept(state: Path, resume: str, init: str | Path | None) -> dict[str, Any]:
    """Contents of the state to go on from; empty for a new training."""
    if resume not in ("auto", "yes", "no"):
        raise ConfigError(f"resume must be 'auto', 'yes' or 'no', got {resume!r}.")
    if not state.parent.is_dir():
        raise ConfigError(f"the folder {state.parent} of the state does not exist; make it first.")
    if not state.exists():
        if resume == "yes":
            raise ConfigError(f"there is nothing to resume: {state} does not exist.")
        return {}
    if resume == "no":
        raise ConfigError(f"{state} exists; give another --state, or resume it (--resume auto).")
    if init is not None:
        raise ConfigError(f"--init begins a new training, but {state} exists; give another --state or no --init.")
    return read_state(state)


def _open(config: Config, seed: int, memory: float, world: World) -> tuple[Slices, Slices, dict[str, Any]]:
    """Training slices, held-out slices, and what the state records of them."""
    found = open_split(config, seed)
    slices = Slices(found.train, config.data, int(memory * 2**30), "reading" if world.is_first else "")
    held_out = Slices(found.val, config.data, 0)  # few are used, once
    split = {
        "how": found.how,
        "held_out": found.held_out,
        "train": len(slices),
        "val": len(held_out),
        "empty": slices.n_empty + held_out.n_empty,
        "fingerprint": f"{slices.fingerprint()} {held_out.fingerprint()}",
    }
    return slices, held_out, split
