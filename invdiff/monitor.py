"""What watches a run: progress bar, finite-state guard, misfit history, the user's callback."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from invdiff.solvers.method import Callback
from invdiff.units import Units

CHECK_EVERY = 10  # steps between looks at the state on an accelerator, where each look waits for the device


class Diverged(RuntimeError):
    """An iterate is no longer finite."""


class Monitor:
    """Context manager around a run; `watch(units)` gives the callback that the solver calls at every step."""

    def __init__(
        self, name: str, units: Units, progress: bool | None, callback: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self.name, self.units, self.callback = name, units, callback
        self.steps = 0
        self.history: list[list[Tensor]] = []
        self.scores: list[list[Tensor]] = []
        self.states: list[Tensor] = []
        self.bar: tqdm[Any] | None = None
        self.shown = sys.stderr.isatty() if progress is None else progress

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def watch(self, units: Units) -> Callback:
        """The callback of one run, whose batch has these units."""
        history: list[Tensor] = []
        scores: list[Tensor] = []
        self.history.append(history)
        self.scores.append(scores)
        self.states.append(torch.empty(0))
        run = len(self.states) - 1

        def step(
            i: int,
            total: int,
            *,
            x: Tensor,
            x0: Tensor | None = None,
            sigma: float | None = None,
            misfit: Tensor | None = None,
            score: Tensor | None = None,
        ) -> None:
            self.steps = i + 1
            if x.device.type == "cpu" or i % CHECK_EVERY == 0 or i + 1 == total:
                self._check(x, i, total)
            if misfit is not None:
                history.append(misfit)
            if score is not None:
                scores.append(score)
                self.states[run] = x
            self._show(total)
            if self.callback is not None:
                image = units.to_physical(x if x0 is None else x0)
                self.callback({"step": i, "steps": total, "x": image, "sigma": sigma, "misfit": misfit})

        return step

    def finish(self, x: Tensor) -> None:
        """Refuse a result that is not finite."""
        self._check(x, self.steps - 1, self.steps)

    def misfit(self, batch: int) -> Tensor:
        """(steps, B, S); empty where the solver does not report it."""
        return _table(self.history, batch)

    def score(self, batch: int) -> Tensor:
        """(steps, B, S); empty where the solver has no stop rule."""
        return _table(self.scores, batch)

    def last(self, batch: int) -> Tensor | None:
        """(B, S, C, H, W) in the prior's units, the state that a solver with a stop rule ended in; None for others."""
        if not self.scores or not self.scores[0]:
            return None
        return torch.cat([x.unflatten(0, (batch, -1)) for x in self.states], 1)

    def _check(self, x: Tensor, i: int, total: int) -> None:
        if not bool(torch.isfinite(x.abs().sum())):
            raise Diverged(
                f"{self.name} diverged: the state is not finite after step {i + 1} of {total}. "
                "Lower its step size or data weight, or check sigma_y and scale."
            )

    def _show(self, total: int) -> None:
        if not self.shown:
            return
        if self.bar is None:
            self.bar = tqdm(desc=self.name, unit="step", total=total)
        self.bar.update()


def _table(runs: list[list[Tensor]], batch: int) -> Tensor:
    """Values by step of every run, (steps, B, S), NaN after the last step of a run; empty where there are none."""
    if not runs or not runs[0]:
        return torch.empty(0, batch, 0, dtype=torch.float32)
    tables = [torch.stack(run).unflatten(1, (batch, -1)) for run in runs]
    steps = max(len(table) for table in tables)
    return torch.cat([F.pad(table, (0, 0, 0, 0, 0, steps - len(table)), value=torch.nan) for table in tables], 2)
