"""Weights to begin from: a prior (.safetensors with its .json) or the averaged weights of a training state."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from invdiff.priors.container import read_content as read_card
from invdiff.priors.container import read_tensors
from invdiff.priors.weights import state
from invdiff.training.state import read_content


@dataclass(frozen=True)
class Initial:
    """Tensors by name, and the optimiser steps behind them.

    The steps count for the decay of the learning rate and for the averages, not for the warm-up.
    """

    source: str
    tensors: dict[str, Tensor]
    step: int

    def record(self) -> dict[str, Any]:
        """For states and cards."""
        return {"source": Path(self.source).name, "steps": self.step}


def read_initial(path: Path, sigma_data: float) -> Initial:
    """Read weights, made for networks with that preconditioning.

    Raises:
        ValueError: files that are missing or damaged, hold no weights, or weights for another sigma_data.
    """
    if path.suffix == ".safetensors":
        about = read_card(path)
        tensors, step = read_tensors(path, about.get("sha256")), about.get("card", {}).get("steps", 0)
    else:
        content = read_content(path)
        tensors, step, about = state(content), content.get("step", 0), content.get("config", {})
    if not tensors:
        raise ValueError(f"{path} holds no weights under a name that is known.")
    stored = _sigma_data(about)
    if stored is not None and stored != sigma_data:
        raise ValueError(
            f"{path} was trained with sigma_data = {stored:g}; set noise.sigma_data to it, now {sigma_data:g}."
        )
    return Initial(str(path), tensors, int(step))


def _sigma_data(about: dict[str, Any]) -> float | None:
    value = about.get("sigma_data", about.get("noise", {}).get("sigma_data"))
    return None if value is None else float(value)
