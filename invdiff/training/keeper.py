"""What outlives a training: its state, snapshots, log and pictures, kept by the first process."""

import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from invdiff.training.clock import Clock
from invdiff.training.export import make_prior
from invdiff.training.log import Log
from invdiff.training.pictures import denoising_strip, sample_grid
from invdiff.training.run import Run
from invdiff.training.slices import Slices
from invdiff.training.snapshots import Snapshots
from invdiff.training.state import write_state
from invdiff.training.validate import analytic_tables, held_images

Record = dict[str, Any]


class Keeper:
    """Validates, reports and saves.

    Args:
        slices, held_out: of the training and of its validation.
        made_with: configuration, seed, split and initial weights, for the state.
        kept: contents of the state that is resumed, or nothing.
    """

    def __init__(
        self,
        state: Path,
        run: Run,
        slices: Slices,
        held_out: Slices,
        made_with: dict[str, Any],
        kept: dict[str, Any],
        on_record: Callable[[Record], None] | None = None,
        tensorboard: str | Path | None = None,
    ) -> None:
        self.state, self.run, self.made_with, self.on_record = state, run, made_with, on_record
        self.log = Log(state.with_suffix(".jsonl"), None if tensorboard is None else Path(tensorboard))
        averages = run.config.averages
        self.snapshots = Snapshots(state.with_suffix(".averages"), averages.every, averages.keep)
        self.snapshots.thin(run.step)
        self.slices = slices
        self.held = held_images(held_out, run.config, run.world.device)
        self.last: Record | None = kept.get("report")
        self.analytic: dict[str, dict[str, float]] | None = kept.get("analytic")
        self.best: float = kept.get("best", -math.inf)
        self.seconds: float = kept.get("cost", {}).get("seconds", 0.0)
        self._losses: list[float] = []
        self._tell({"event": "begin", "step": run.step, **made_with["split"], "kept": slices.n_kept, **_machine(run)})

    def after_step(self, loss: float) -> None:
        """Note the loss; store the averages where it is time."""
        self._losses.append(loss)
        if self.snapshots.due(self.run.step):
            self.snapshots.write(self.run.step, self.run.averages)

    def report(self, clock: Clock) -> Record:
        """Validate the average, write state, log and pictures; keep the best state apart."""
        run, config = self.run, self.run.config
        prior = make_prior(run.average.net, config)
        psnr = self.held.psnr(prior, config.validation.sigmas)
        if self.analytic is None:
            self.analytic = analytic_tables(self.slices, self.held, config)
        finite = [loss for loss in self._losses if math.isfinite(loss)]
        self.last = {
            "event": "report",
            "step": run.step,
            "images": run.images,
            "seconds": round(self.seconds + clock.seconds, 1),
            "loss": sum(finite) / len(finite) if finite else None,
            "lr": run.optimizer.param_groups[0]["lr"],
            "skipped": run.skipped,
            "psnr": psnr,
            "analytic": self.analytic,
        }
        self._losses.clear()
        self._save_best(clock, sum(psnr.values()) / len(psnr))
        self.save(clock)
        self._tell(self.last)
        denoising_strip(self.state.with_suffix(".denoised.png"), self.held, prior, config.validation.sigmas)
        sample_grid(self.state.with_suffix(".samples.png"), prior, config.batch.size, run.world.device)
        return self.last

    def save(self, clock: Clock) -> None:
        """Write the state, then forget the snapshots that it does not need."""
        write_state(self.state, self._content(clock))
        self.snapshots.thin(self.run.step)

    def finish(self, clock: Clock, reason: str) -> Record | None:
        """Save; a training that was not cut short is reported once more."""
        if reason == "signal":
            self.save(clock)
        else:
            self.report(clock)
        self._tell({"event": "end", "step": self.run.step, "reason": reason})
        self.log.close()
        return self.last

    def _tell(self, record: Record) -> None:
        self.log.write(record)
        if self.on_record:
            self.on_record(record)

    def _save_best(self, clock: Clock, score: float) -> None:
        if score > self.best:
            self.best = score
            write_state(self.state.with_suffix(".best.pt"), self._content(clock))

    def _content(self, clock: Clock) -> dict[str, Any]:
        machine = _machine(self.run)
        return {
            **self.made_with,
            **self.run.content(),
            "snapshots": self.snapshots.folder.name,
            "report": self.last,
            "analytic": self.analytic,
            "best": self.best,
            "cost": {"seconds": round(self.seconds + clock.seconds, 1), **machine},
        }


def _machine(run: Run) -> dict[str, Any]:
    device = run.world.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": f"{device.type}: {name}",
        "processes": run.world.size,
        "precision": run.precision.name,
        "torch": torch.__version__.split("+")[0],
    }
