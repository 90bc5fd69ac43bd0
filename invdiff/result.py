"""What a reconstruction returns: the image, its spread, what it cost, and how well it fits the data."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from invdiff.files import write_whole
from invdiff.units import Units


@dataclass(frozen=True, eq=False)
class Result:
    """A finished reconstruction, in physical units.

    x: (B, C, H, W), the reconstruction: the mean of the samples (with one sample, that sample), or the one that was
        selected by its misfit.
    samples: (B, S, C, H, W). mean, std: over the samples, (B, C, H, W); std is None for one sample. For complex images
        std is that of the complex value, sqrt(E |x - mean|^2).
    options: every option with the value used. nfe, vjps: denoiser evaluations and input gradients per image.
    seconds: wall time of the solver. misfit: |A x0 - y| by step, (steps, B, S), prior units; empty if not tracked.
    chi2: |A x - y|^2 / (m sigma_y^2), (B,), m the number of real measured values; about 1 where x explains the data to
        the noise; None where sigma_y is unknown or 0. sigma_y: (B,), as given or estimated, in the units of y; the
        tensor that was passed where that has a value for every entry of y (misfit and chi2 are then of y / sigma_y).
    units: the affine map used. seed: of the random streams. status: a sentence. reference: BibTeX of the method.
    skipped: noise levels passed in closed form (teleportation), each at least one evaluation saved.
    score: what the stop rule of a method went by, (steps, B, S), NaN after a run's end; empty for methods without.
        x is the image of the least score; last: (B, S, C, H, W), the one such a method ended with, None for others.
    """

    x: Tensor
    samples: Tensor
    mean: Tensor
    std: Tensor | None
    method: str
    options: dict[str, Any]
    nfe: int
    vjps: int
    seconds: float
    misfit: Tensor
    chi2: Tensor | None
    sigma_y: Tensor | None
    units: Units
    seed: int
    status: str
    reference: str = field(repr=False)
    skipped: int = 0
    score: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)
    last: Tensor | None = field(default=None, repr=False)

    @property
    def chosen(self) -> Tensor | None:
        """The iteration, from 0, whose image a stop rule took, (B, S); None for methods without one."""
        return least_scores(self.score) if len(self.score) else None

    def save(self, path: str | Path) -> Path:
        """Write images and record to HDF5, whole or not at all; returns the path."""
        path = Path(path)
        arrays = {"x": self.x, "samples": self.samples, "std": self.std, "misfit": self.misfit, "chi2": self.chi2}
        arrays |= {"last": self.last, "score": self.score if len(self.score) else None, "chosen": self.chosen}
        arrays |= {"sigma_y": self.sigma_y, "scale": self.units.scale, "offset": self.units.offset}
        record = {
            k: getattr(self, k)
            for k in ("method", "options", "nfe", "vjps", "skipped", "seconds", "seed", "status", "reference")
        }

        def write(partial: Path) -> None:
            with h5py.File(partial, "w") as file:
                for name, value in arrays.items():
                    if value is not None:
                        file[name] = value.detach().cpu().numpy()
                file.attrs["record"] = json.dumps(record, default=str)

        write_whole(path, write)
        return path

    def plot(self, truth: Tensor | np.ndarray | None = None) -> Any:
        """A matplotlib figure: reconstruction, spread, misfit; with `truth` also the error."""
        from invdiff.plotting import plot_result

        return plot_result(self, truth)

    def __repr__(self) -> str:
        chi2 = "" if self.chi2 is None else f", chi2 {_short(self.chi2)}"
        cost = f"{self.nfe} evaluations, {self.seconds:.1f} s"
        return f"Result({self.method}, x {tuple(self.x.shape)}, {cost}{chi2}: {self.status})"


def least_scores(score: Tensor) -> Tensor:
    """Where (steps, B, S) is least, (B, S): NaN is after a run's end, and inf before a rule judged the first image.

    A run that ended before that has its last image.
    """
    ran = ~score.isnan()
    least, at = torch.where(ran, score, torch.inf).min(0)
    return torch.where(least == torch.inf, ran.sum(0) - 1, at)


def _short(values: Tensor) -> str:
    return ", ".join(f"{v:.3g}" for v in values[:4].tolist()) + (", ..." if len(values) > 4 else "")


def statistics(samples: Tensor) -> tuple[Tensor, Tensor | None]:
    """Mean and standard deviation over the sample axis of (B, S, ...)."""
    mean = samples.mean(1)
    if samples.shape[1] == 1:
        return mean, None
    square = (samples - mean[:, None]).abs().square().sum(1) / (samples.shape[1] - 1)
    return mean, torch.sqrt(square)
