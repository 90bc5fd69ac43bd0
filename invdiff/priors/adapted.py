"""Any network as a prior: D(x; sigma) = u(D_net(u^-1(x); s sigma)), u from the network's channels and values to ours.

A callable becomes a prior in one line, here an epsilon network of grey images in [-1, 1]:

    prior = AdaptedPrior(my_net, Epsilon(Schedule.linear()), channels="real", net_channels=1)
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from invdiff.checks import require
from invdiff.diffusion.precondition import Network, Parameterisation, parameterisation
from invdiff.priors.channels import from_channels, to_channels
from invdiff.priors.container import as_tuple
from invdiff.priors.frozen import Frozen, frozen
from invdiff.priors.mismatch import Checkable
from invdiff.priors.prior import fits, per_sample

Channels = Literal["real", "complex2", "complex-split", "replicate"]

FIELDS = (
    "channels",
    "net_range",
    "net_channels",
    "multiple",
    "range",
    "complex",
    "sigma_min",
    "sigma_max",
    "percentile",
    "window",
    "shape",
    "domain",
    "clip",
)

_ROUNDING = 1e-3  # relative; what a grid of sigmas computed in another order or precision may be off


class AdaptedPrior(Checkable, Frozen):
    """A network that someone trained elsewhere, as a `Prior`.

    Args:
        net: called as net(x, noise) with x (B, net_channels, H, W) float32 and noise (B,) as the parameterisation says.
            A module is set to evaluation, where it stays, and its weights are frozen.
        parameterisation: what net predicts.
        channels: what net's channels are.
            "real": the image's.
            "complex2": real, then imaginary parts.
            "complex-split": net is for real images and is applied to real and imaginary part in turn.
            "replicate": net is for RGB; a grey image is copied to all channels and the results are averaged.
        net_range: values of the images net was trained on. The parts of complex images count.
        net_channels: image channels of net; None: not checked (3 for "replicate").
        multiple: height and width are padded by reflection to a multiple of this.
        range: `net_range` in the prior's units, by default the same; sigma scales with it.
        complex: whether images are complex, where channels does not say ("replicate", which then works on each part).
        sigma_min, sigma_max: in the prior's units; by default what the parameterisation knows of the training.
        clip: whether D is clamped to range; for real images only.
        Other arguments: see `Prior`.

    Computation is in float32 and differentiable in x.

    Differs: the noise of a "replicate" image is the same in all channels, which an RGB network has not seen.
    """

    def __init__(
        self,
        net: Network,
        parameterisation: Parameterisation,
        *,
        channels: Channels = "real",
        net_range: tuple[float, float] = (-1.0, 1.0),
        net_channels: int | None = None,
        multiple: int = 1,
        range: tuple[float, float] | None = None,
        complex: bool | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        percentile: float | None = None,
        window: tuple[float, float] | None = None,
        shape: tuple[int | None, ...] | None = None,
        domain: str = "",
        clip: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(parameterisation, Parameterisation):
            raise TypeError(
                f"parameterisation must be one of invdiff.priors, such as Epsilon(Schedule.linear()), got "
                f"{parameterisation!r}."
            )
        require("multiple", multiple, at_least=1)
        self.net = frozen(net) if isinstance(net, nn.Module) else net
        self.parameterisation, self.channels, self.multiple = parameterisation, channels, multiple
        self.complex = _complex(channels, complex)
        self.net_range, self.range = net_range, range or net_range
        for name, (low, high) in (("net_range", self.net_range), ("range", self.range)):
            if not low < high:
                raise ValueError(f"{name} must be (low, high) with low < high, got {(low, high)}.")
        self.net_channels = 3 if channels == "replicate" and net_channels is None else net_channels
        self.sigma_min, self.sigma_max = self._sigmas(sigma_min, sigma_max)
        self.shape = shape or _shape(channels, self.net_channels)
        self.percentile, self.window, self.domain, self.clip = percentile, window, domain, clip
        if clip and self.complex:
            raise ValueError("complex images are never clipped: their parts have no bounds of their own. Drop clip.")

    @property
    def scale(self) -> float:
        """Units of net per unit of the prior."""
        return _scale(self.net_range, self.range)

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x] for x (B, C, H, W) and sigma a number or (B,); same shape and dtype as x.

        Raises:
            TypeError: a real image for a complex prior, or the reverse.
            ValueError: a shape or sigma the network was not made for. Where sigma is a tensor on a device whose values
                cannot be looked at without stalling it, D is NaN instead.
        """
        self._check(x)
        level = self._level(x, sigma)
        z = (self._in(x).float() - self.range[0]) * self.scale + self.net_range[0]
        level = (level * self.scale).repeat(len(z) // len(x))
        out = self.parameterisation.denoise(self.net, _padded(z, self.multiple), level)
        out = (out[..., : x.shape[-2], : x.shape[-1]] - self.net_range[0]) / self.scale + self.range[0]
        if self.clip:
            out = out.clamp(*self.range)
        return self._out(out.to(x.dtype.to_real()))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the network, as plain JSON values; the arguments of `from_dict`."""
        return {"parameterisation": self.parameterisation.to_dict(), **{name: getattr(self, name) for name in FIELDS}}

    @classmethod
    def from_dict(cls, net: Network, content: dict[str, Any], **changes: Any) -> "AdaptedPrior":
        """The prior that `to_dict` described, around net.

        Args:
            changes: arguments that should be different; where these are ranges, the noise levels follow.
        """
        old = {name: as_tuple(value) for name, value in content.items()}
        chosen, new = parameterisation(old.pop("parameterisation")), old | changes
        scale = _scale(old["net_range"], old["range"])
        levels = trained_levels(scale * old["sigma_min"], scale * old["sigma_max"], new["net_range"], new["range"])
        return cls(net, chosen, **new | levels | changes)

    def _in(self, x: Tensor) -> Tensor:
        """Prior channels to those of net; parts that are denoised apart are stacked along the batch."""
        if self.channels == "complex2":
            return to_channels(x)
        parts = torch.cat([x.real, x.imag]) if self.complex else x
        return parts.expand(-1, self.net_channels or 3, -1, -1) if self.channels == "replicate" else parts

    def _out(self, x: Tensor) -> Tensor:
        """The inverse of `_in`."""
        if self.channels == "complex2":
            return from_channels(x, True)
        parts = x.mean(1, keepdim=True) if self.channels == "replicate" else x
        return torch.complex(*parts.chunk(2)) if self.complex else parts

    def _check(self, x: Tensor) -> None:
        self._check_dtype(x)
        if x.ndim != 4 or not fits(self.shape, tuple(x.shape[1:])):
            wanted = ", ".join("any" if n is None else str(n) for n in self.shape or (None, None, None))
            raise ValueError(f"this prior takes images (B, {wanted}), got {tuple(x.shape)}.")

    def _level(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """sigma as (B,) float32 within the range the network knows."""
        level, given = per_sample(sigma, x).float(), torch.as_tensor(sigma)
        if given.device.type == "cpu" and bool(self._outside(given).any()):  # elsewhere the look would stall the device
            raise ValueError(
                f"the network knows sigma from {self.sigma_min:.4g} to {self.sigma_max:.4g} in the prior's units, got "
                f"{given[self._outside(given)][0]:.4g}. Keep the solver's levels within sigma_min and sigma_max."
            )
        return level.clamp(self.sigma_min, self.sigma_max).masked_fill(self._outside(level), torch.nan)

    def _outside(self, level: Tensor) -> Tensor:
        return (level < self.sigma_min * (1 - _ROUNDING)) | (level > self.sigma_max * (1 + _ROUNDING))

    def _sigmas(self, low: float | None, high: float | None) -> tuple[float, float]:
        """The noise levels in the prior's units; those given must lie within those trained for."""
        known = self.parameterisation.sigma_range
        if known is None and (low is None or high is None):
            kind = type(self.parameterisation).__name__
            raise ValueError(f"{kind} does not know the noise levels of the training: pass sigma_min and sigma_max.")
        trained = [s / self.scale for s in known] if known else [0.0, float("inf")]
        low, high = trained[0] if low is None else low, trained[1] if high is None else high
        if not (trained[0] * (1 - _ROUNDING) <= low < high <= trained[1] * (1 + _ROUNDING) and low > 0):
            raise ValueError(
                f"sigma_min < sigma_max within {trained[0]:.4g} to {trained[1]:.4g}, the levels of the training in the "
                f"prior's units, are needed, got {low:.4g} and {high:.4g}."
            )
        return low, high


def trained_levels(
    low: float, high: float, net_range: tuple[float, float], range: tuple[float, float] | None
) -> dict[str, float]:
    """sigma_min and sigma_max, in the units of range, of a network that was trained from low to high in its own."""
    scale = _scale(net_range, range or net_range)
    return {"sigma_min": low / scale, "sigma_max": high / scale}


def _scale(net_range: tuple[float, float], range: tuple[float, float]) -> float:
    return (net_range[1] - net_range[0]) / (range[1] - range[0])


def _complex(channels: str, given: bool | None) -> bool:
    if channels not in get_args(Channels):
        raise ValueError(f"channels must be one of {', '.join(map(repr, get_args(Channels)))}, got {channels!r}.")
    implied = {"real": False, "replicate": bool(given)}.get(channels, True)
    if given is not None and given != implied:
        raise ValueError(f"channels={channels!r} means complex={implied}, got complex={given}.")
    return implied


def _shape(channels: str, net_channels: int | None) -> tuple[int | None, ...] | None:
    """Image shapes that give net its channels."""
    if net_channels is None:
        return None
    if channels == "complex2" and net_channels % 2:
        raise ValueError(f"channels='complex2' needs a network with an even number of channels, got {net_channels}.")
    count = {"complex2": net_channels // 2, "replicate": 1}.get(channels, net_channels)
    return (count, None, None)


def _padded(x: Tensor, multiple: int) -> Tensor:
    """x continued at the lower and right edge by reflection, as often as it takes, to the next multiple."""
    height, width = (-(-n // multiple) * multiple for n in x.shape[-2:])
    if (height, width) == tuple(x.shape[-2:]):
        return x
    return x[..., _reflected(x.shape[-2], height, x.device), :][..., _reflected(x.shape[-1], width, x.device)]


def _reflected(n: int, total: int, device: torch.device) -> Tensor:
    """0 1 ... n-1 n-2 ... 1 0 1 ..., total numbers."""
    period = max(2 * (n - 1), 1)
    i = torch.arange(total, device=device) % period
    return torch.minimum(i, period - i)
