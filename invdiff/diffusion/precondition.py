"""What a raw network predicts, and the denoiser D(x; sigma) that follows from it.

Everywhere x = x0 + sigma n is in variance-exploding (VE) coordinates and in the network's own value range. A VP network
sees x_t = a x with a = 1 / sqrt(1 + sigma^2), b = sigma a, at the time t that its schedule gives this sigma.

Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, Table 1 (EDM);
Ho et al., 2020 (epsilon); Salimans and Ho, 2022 (v); Song et al., 2021 (score); Lipman et al., 2023 (flow).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invdiff.checks import nearest
from invdiff.diffusion.vp import Schedule
from invdiff.shapes import over

Network = Callable[[Tensor, Tensor], Tensor]


class Precondition(NamedTuple):
    """The four coefficients, each of the shape of sigma."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def edm(sigma: Tensor, sigma_data: float) -> Precondition:
    """Coefficients that give network input and target unit variance at every sigma > 0."""
    total = sigma**2 + sigma_data**2
    return Precondition(
        c_skip=sigma_data**2 / total,
        c_out=sigma * sigma_data / total.sqrt(),
        c_in=1 / total.sqrt(),
        c_noise=sigma.log() / 4,
    )


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Loss weight lambda(sigma) = 1 / c_out^2: the same gradient scale at every noise level."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


@dataclass(frozen=True)
class Parameterisation:
    """How D follows from a network; subclasses define `denoise`."""

    def denoise(self, net: Network, x: Tensor, sigma: Tensor) -> Tensor:
        """D(x; sigma), (B, C, H, W), by one call of net.

        Args:
            net: called with an image (B, C, H, W) and one number per sample (B,), what that is says the subclass.
            x: (B, C, H, W), real. sigma: (B,), of the dtype of x.

        Raises:
            TypeError: the network returns no tensor.
            ValueError: the network returns another shape than its input's.
        """
        raise NotImplementedError(f"{type(self).__name__} must define denoise(net, x, sigma).")

    @property
    def sigma_range(self) -> tuple[float, float] | None:
        """The noise levels the network was trained at, where the parameterisation knows them."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Name and fields as plain JSON values; `parameterisation` reads them."""
        return {"name": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True)
class EDM(Parameterisation):
    """D = c_skip x + c_out F(c_in x, ln(sigma) / 4).

    Args:
        sigma_data: standard deviation of the training images.
    """

    sigma_data: float = 0.5

    def denoise(self, net: Network, x: Tensor, sigma: Tensor) -> Tensor:
        c = edm(over(sigma, x), self.sigma_data)
        return c.c_skip * x + c.c_out * _call(net, c.c_in * x, c.c_noise.flatten())


@dataclass(frozen=True)
class Direct(Parameterisation):
    """D = net(x, sigma)."""

    def denoise(self, net: Network, x: Tensor, sigma: Tensor) -> Tensor:
        return _call(net, x, sigma)


@dataclass(frozen=True)
class Score(Parameterisation):
    """D = x + sigma^2 s(x, sigma), for a network s of the VE score, grad log p(x; sigma)."""

    def denoise(self, net: Network, x: Tensor, sigma: Tensor) -> Tensor:
        return x + over(sigma, x) ** 2 * _call(net, x, sigma)


@dataclass(frozen=True)
class Flow(Parameterisation):
    """D = x_t - t u(x_t, t), for u = eps - x0 on x_t = (1 - t) x0 + t eps; t = sigma / (1 + sigma).

    Differs: some codes let time run from noise (0) to data (1); wrap such a network as lambda x, t: -net(x, 1 - t).
    """

    def denoise(self, net: Network, x: Tensor, sigma: Tensor) -> Tensor:
        t = sigma / (1 + sigma)
        x_t = over(1 - t, x) * x
        return x_t - over(t, x) * _call(net, x_t, t)


@dataclass(frozen=True)
class _VP(Parameterisation):
    schedule: Schedule

    @property
    def sigma_range(self) -> tuple[float, float]:
        return self.schedule.sigma_min, self.schedule.sigma_max

    def _coordinates(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x_t, t, a and b."""
        a = (1 + over(sigma, x) ** 2).rsqrt()
        return a * x, self.schedule.time(sigma).to(x.dtype), a, over(sigma, x) * a


@dataclass(frozen=True)
class Epsilon(_VP):
    """D = x - sigma eps(x_t, t).

    Args:
        schedule: the one the network was trained with.
        learned_variance: whether the network returns 2C channels, of which the first C are eps; the rest is not used.
    """

    learned_variance: bool = False

    def denoise(self, net: Network, x: Tensor, sigma: Tensor) -> Tensor:
        x_t, t, _, _ = self._coordinates(x, sigma)
        return x - over(sigma, x) * _call(net, x_t, t, 1 + self.learned_variance)


@dataclass(frozen=True)
class ContinuousEpsilon(Parameterisation):
    """D = x - sigma eps(x_t, last t) with sigma(t)^2 = exp(beta_min t + (beta_max - beta_min) t^2 / 2) - 1, t to 1.

    For VP networks that were trained at all times from 1e-5 to 1 instead of a table of them (Song et al., 2021,
    appendix B; Karras et al., 2022, Table 1).

    Args:
        last: what the network is given at t = 1.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    last: float = 999.0

    @property
    def sigma_range(self) -> tuple[float, float]:
        low, high = (math.expm1(self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2) for t in (1e-5, 1.0))
        return math.sqrt(low), math.sqrt(high)

    def denoise(self, net: Network, x: Tensor, sigma: Tensor) -> Tensor:
        slope = self.beta_max - self.beta_min
        total = torch.log1p(sigma.double() ** 2)  # beta_min t + slope t^2 / 2
        t = 2 * total / (self.beta_min + (self.beta_min**2 + 2 * slope * total).sqrt())
        a = (1 + over(sigma, x) ** 2).rsqrt()
        return x - over(sigma, x) * _call(net, a * x, (self.last * t).to(x.dtype))


@dataclass(frozen=True)
class Velocity(_VP):
    """D = a x_t - b v(x_t, t), for v = a eps - b x0."""

    def denoise(self, net: Network, x: Tensor, sigma: Tensor) -> Tensor:
        x_t, t, a, b = self._coordinates(x, sigma)
        return a * x_t - b * _call(net, x_t, t)


@dataclass(frozen=True)
class Sample(_VP):
    """D = x0(x_t, t)."""

    def denoise(self, net: Network, x: Tensor, sigma: Tensor) -> Tensor:
        x_t, t, _, _ = self._coordinates(x, sigma)
        return _call(net, x_t, t)


PARAMETERISATIONS: dict[str, type[Parameterisation]] = {
    "edm": EDM,
    "epsilon": Epsilon,
    "continuousepsilon": ContinuousEpsilon,
    "velocity": Velocity,
    "sample": Sample,
    "score": Score,
    "flow": Flow,
    "direct": Direct,
}


def parameterisation(content: dict[str, Any]) -> Parameterisation:
    """The inverse of `Parameterisation.to_dict`.

    Raises:
        ValueError: unknown name, or fields that do not belong to it.
    """
    values = dict(content)
    name = values.pop("name", None)
    if name not in PARAMETERISATIONS:
        raise ValueError(f"unknown parameterisation {name!r}.{nearest(str(name), PARAMETERISATIONS)}")
    kind = PARAMETERISATIONS[name]
    wanted = {field.name for field in fields(kind)}
    if values.keys() != wanted:
        raise ValueError(f"{name} is described by {sorted(wanted)}, got {sorted(values)}.")
    if "schedule" in values:
        values["schedule"] = Schedule.from_dict(values["schedule"])
    return kind(**values)


def named(content: str | Mapping[str, Any]) -> Parameterisation:
    """A parameterisation by name, or by name and some of its fields; the others are their defaults, schedules linear.

    Raises:
        ValueError: see `parameterisation`.
    """
    given = {"name": content} if isinstance(content, str) else dict(content)
    kind = PARAMETERISATIONS.get(str(given.get("name")), Parameterisation)
    defaults = {field.name: field.default for field in fields(kind)}
    if "schedule" in defaults:
        defaults["schedule"] = Schedule.linear().to_dict()
    return parameterisation({**defaults, **given})


def _call(net: Network, x: Tensor, noise: Tensor, parts: int = 1) -> Tensor:
    """The first of `parts` equal groups of channels of net(x, noise), each like x."""
    out = net(x, noise)
    if not isinstance(out, Tensor):
        raise TypeError(
            f"the network returned {type(out).__name__} where a tensor is wanted. Pass a function that takes it out, "
            "such as lambda x, t: net(x, t).sample."
        )
    channels = x.shape[1]
    wanted = (len(x), parts * channels, *x.shape[2:])
    if tuple(out.shape) != wanted:
        hint = ""
        if parts == 1 and tuple(out.shape) == (len(x), 2 * channels, *x.shape[2:]):
            hint = " If the second half is a learned variance, use Epsilon(schedule, learned_variance=True)."
        raise ValueError(f"the network was called with {tuple(x.shape)} and returned {tuple(out.shape)}.{hint}")
    return out[:, :channels]
