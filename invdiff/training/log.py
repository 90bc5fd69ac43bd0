"""One line of JSON for each report, a progress bar on a terminal, and TensorBoard where it is asked for."""

import json
import math
from pathlib import Path
from typing import Any

from tqdm import tqdm

from invdiff.training.clock import Clock


class Progress:
    """A bar of optimiser steps with images per second, loss and time left; silent off a terminal and when `quiet`."""

    def __init__(self, clock: Clock, step: int, quiet: bool) -> None:
        done = step - clock.start
        self._bar = tqdm(total=clock.steps, initial=done, unit="step", disable=True if quiet else None, leave=False)
        self._clock, self._images, self._loss = clock, 0, math.nan

    def update(self, images: int, loss: float) -> None:
        """After a step of so many images."""
        self._images += images
        if math.isfinite(loss):
            self._loss = loss if math.isnan(self._loss) else 0.95 * self._loss + 0.05 * loss
        rate = self._images / max(self._clock.seconds, 1e-9)
        shown = f"{rate:.1f} images/s, loss {self._loss:.3f}"
        if self._clock.max_seconds is not None:
            left = max(self._clock.max_seconds - self._clock.seconds, 0)
            shown += f", {tqdm.format_interval(left)} left"
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update()

    def close(self) -> None:
        self._bar.close()


class Log:
    """Appends reports to a JSON-lines file, and to TensorBoard.

    Args:
        tensorboard: a folder, or None.

    Raises:
        ValueError: TensorBoard is asked for and not installed.
    """

    def __init__(self, path: Path, tensorboard: Path | None = None) -> None:
        self.path, self._board = path, None if tensorboard is None else _board(tensorboard)

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        with self.path.open("a", encoding="utf8") as file:
            file.write(json.dumps(record) + "\n")
        if self._board is not None and record["event"] == "report":
            for name in ("loss", "lr", "skipped"):
                self._board.add_scalar(name, record[name], record["step"])
            for sigma, value in record["psnr"].items():
                self._board.add_scalar(f"psnr/{sigma}", value, record["step"])
            self._board.flush()

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError("--tensorboard needs TensorBoard: pip install tensorboard.") from error
    return SummaryWriter(str(folder))
