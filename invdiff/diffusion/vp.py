"""The discrete VP schedule: abar_t = prod_{s <= t} (1 - beta_s), sigma_t = sqrt((1 - abar_t) / abar_t)."""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from invdiff.checks import nearest, require


@dataclass(frozen=True)
class Schedule:
    """The noise level of every time a VP network was trained at; made by one of the constructors below.

    Between two times log sigma is linear, so that every sigma has a fractional time and every time that the network
    knows has exactly its own sigma. Networks take fractional times.

    Args:
        name: "linear", "scaled_linear", "cosine" or "betas".
        values: first and last beta, or all of them.
        steps: number of times.

    Differs: the continuous-time formula, which others use for such networks, is off by half a step to three steps.
    """

    name: str
    values: tuple[float, ...]
    steps: int

    def __post_init__(self) -> None:
        require("steps", self.steps, at_least=2)
        if self.name not in _BETAS:
            raise ValueError(f"unknown schedule {self.name!r}.{nearest(self.name, _BETAS)}")
        betas = self.betas()
        if betas.ndim != 1 or len(betas) != self.steps or not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(f"a schedule needs {self.steps} betas between 0 and 1, got {betas[:5].tolist()}...")

    @classmethod
    def linear(cls, first: float = 1e-4, last: float = 0.02, steps: int = 1000) -> "Schedule":
        """Beta from first to last in equal steps (Ho et al., 2020, section 4)."""
        return cls("linear", (first, last), steps)

    @classmethod
    def scaled_linear(cls, first: float = 0.00085, last: float = 0.012, steps: int = 1000) -> "Schedule":
        """The root of beta in equal steps, as latent diffusion has it (Rombach et al., 2022)."""
        return cls("scaled_linear", (first, last), steps)

    @classmethod
    def cosine(cls, steps: int = 1000) -> "Schedule":
        """abar(t) = cos^2(pi/2 (t + 0.008) / 1.008), beta at most 0.999 (Nichol and Dhariwal, 2021, equation 17)."""
        return cls("cosine", (), steps)

    @classmethod
    def from_betas(cls, betas: Sequence[float]) -> "Schedule":
        """Any list of betas, between 0 and 1."""
        return cls("betas", tuple(float(beta) for beta in betas), len(betas))

    def zero_snr(self) -> "Schedule":
        """sqrt(abar) shifted so that it ends at 0 and scaled so that it starts where it did; its last time is left out.

        Source: Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, 2024, Algorithm 1.
        Differs: at the last time the image is noise alone and sigma infinite.
        """
        root = torch.cumprod(1 - self.betas(), 0).sqrt()
        abar = ((root - root[-1]) * root[0] / (root[0] - root[-1]))[:-1] ** 2
        return self.from_betas((1 - abar / torch.cat([abar.new_ones(1), abar[:-1]])).tolist())

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Schedule":
        """What `to_dict` described."""
        return cls(content["name"], tuple(content["values"]), content["steps"])

    def to_dict(self) -> dict[str, Any]:
        """The schedule as plain JSON values."""
        return asdict(self)

    def betas(self) -> Tensor:
        """(steps,) float64."""
        return _BETAS[self.name](self.values, self.steps)

    def sigmas(self) -> Tensor:
        """sigma_t for t = 0 ... steps - 1, increasing, float64."""
        return _log_sigma(self, torch.device("cpu")).exp()

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas()[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas()[-1])

    def time(self, sigma: Tensor) -> Tensor:
        """The fractional t with sigma_t = sigma, float64 of the shape of sigma; the first or last time outside."""
        table, value = _log_sigma(self, sigma.device), sigma.double().log()
        i = torch.searchsorted(table, value.contiguous()).clamp(1, len(table) - 1)
        below, above = table[i - 1], table[i]
        return ((value - below) / (above - below)).clamp(0, 1) + (i - 1)

    def sigma(self, time: Tensor) -> Tensor:
        """sigma at fractional times, float64: the inverse of `time`."""
        table = _log_sigma(self, time.device)
        i = time.floor().long().clamp(0, len(table) - 2)
        return (table[i] + (time - i) * (table[i + 1] - table[i])).exp()


@functools.lru_cache(maxsize=32)
def _log_sigma(schedule: Schedule, device: torch.device) -> Tensor:
    abar = torch.cumprod(1 - schedule.betas(), 0)
    return (0.5 * ((1 - abar) / abar).log()).to(device)


def _linear(values: tuple[float, ...], steps: int) -> Tensor:
    first, last = values
    return torch.linspace(first, last, steps, dtype=torch.float64)


def _scaled_linear(values: tuple[float, ...], steps: int) -> Tensor:
    first, last = values
    return _linear((math.sqrt(first), math.sqrt(last)), steps) ** 2


def _cosine(values: tuple[float, ...], steps: int) -> Tensor:
    time = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    abar = (math.pi / 2 * (time + 0.008) / 1.008).cos() ** 2
    return (1 - abar[1:] / abar[:-1]).clamp(max=0.999)


def _listed(values: tuple[float, ...], steps: int) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


_BETAS = {"linear": _linear, "scaled_linear": _scaled_linear, "cosine": _cosine, "betas": _listed}
