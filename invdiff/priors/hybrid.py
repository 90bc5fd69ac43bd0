"""D = (1 - w) D_net + w D_gauss: a network where images have detail, a Gaussian in closed form where noise hides it.

At high noise only the smooth part of an image can be known, and of that a Gaussian says all there is to say with a few
hundred numbers; a small network, trained mostly on low noise, says it worse. There the probability flow is known in
closed form as well, so that samplers need not walk through those levels at all (teleportation).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.module import Movable
from invdiff.priors.coarse import CoarseGaussian
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.mismatch import Checkable
from invdiff.priors.prior import Prior, Pullback, denoise_vjp, per_sample
from invdiff.shapes import Shape, over


class HybridPrior(Checkable, Movable):
    """The network below `sigma_switch`, the Gaussian above, mixed over `octaves` around it.

        w = 3 t^2 - 2 t^3,   t = log2(sigma / low) / octaves,  clamped to [0, 1]

    between low = sigma_switch 2^(-octaves/2) and high = sigma_switch 2^(octaves/2), see `fade`. Each part is evaluated
    only for those samples of a batch to which it contributes: above `high` the network is not called.

    Args:
        net: prior of low noise, any; shape, range, units and sigma_min are its own.
        gaussian: prior of high noise; a `CoarseGaussian` serves every image size.
        sigma_switch: noise level at which both count half, for images of the size that the Gaussian was fitted to; on
            H x W pixels it is `gaussian.level_scale((C, H, W))` times that, as far as the network's levels reach.
        octaves: width of the fade in log2 sigma.
        sigma_teleport: level down to which `teleport` trusts the Gaussian, on images of any size as sigma_switch. By
            default the upper end of the fade, where its flow is that of this prior. Lower levels spare more evaluations
            and are an approximation: half the switch left samples of brain-mri within 1.5 % of the noise of the ODE.

    Attributes:
        sigma_max: that of the network. Solvers spread their levels up to there, and data leave them nothing to gain
            above: with levels up to 80, DDS in 50 steps on brain-mri had fewer where details settle and lost 0.85 dB.
        sigma_start: that of the Gaussian, 80; draws without data begin there.

    Raises:
        ValueError: one part is of complex images and the other is not, or a fade outside the network's noise levels.

    Source: Wang and Vastola, The Unreasonable Effectiveness of Gaussian Score Approximation for Diffusion Models and
        its Applications, arXiv 2412.09726.
    Differs: the Gaussian also serves as the denoiser of levels that are not skipped, and fades into the network.
    """

    def __init__(
        self,
        net: Prior,
        gaussian: GaussianPrior | CoarseGaussian,
        sigma_switch: float,
        octaves: float = 1.0,
        sigma_teleport: float | None = None,
    ) -> None:
        super().__init__()
        if net.complex != gaussian.complex:
            kinds = ["complex" if part.complex else "real" for part in (net, gaussian)]
            raise ValueError(f"the network is of {kinds[0]} images, the Gaussian of {kinds[1]} ones; both must agree.")
        require("octaves", octaves, above=0)
        half = 2 ** (octaves / 2)
        require("sigma_switch", sigma_switch, at_least=net.sigma_min * half, at_most=net.sigma_max / half)
        top = sigma_switch * half
        require("sigma_teleport", top if sigma_teleport is None else sigma_teleport, above=0, at_most=top)
        self.net, self.gaussian = net, gaussian
        self.sigma_switch, self.octaves, self.sigma_teleport = sigma_switch, octaves, sigma_teleport
        self.shape: Axes | None = _common(net.shape, gaussian)
        self.range, self.complex, self.domain = net.range, net.complex, net.domain
        self.percentile, self.window = net.percentile, net.window
        self.reference_statistics = getattr(net, "reference_statistics", None)
        self.sigma_min, self.sigma_max, self.sigma_start = net.sigma_min, net.sigma_max, gaussian.sigma_max

    def fade(self, shape: Shape) -> tuple[float, float]:
        """(low, high) of sigma between which both parts count, for images (C, H, W)."""
        scale, half = self._scale(shape), 2 ** (self.octaves / 2)
        return scale * self.sigma_switch / half, scale * self.sigma_switch * half

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x0 + sigma n = x], (B, C, H, W) in the dtype of x; sigma a number or (B,)."""
        out = torch.zeros_like(x)
        for part, rows, weight, level in self._shares(x, sigma):
            out = out.index_add(0, rows, weight * part(x[rows], level))
        return out

    def denoise_vjp(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Pullback]:
        """D and v -> J^H v from one evaluation of each part that contributes."""
        out, pulls = torch.zeros_like(x), []
        for part, rows, weight, level in self._shares(x, sigma):
            x0, pull = denoise_vjp(part, x[rows], level)
            out.index_add_(0, rows, weight * x0)
            pulls.append((rows, weight, pull))

        def pullback(v: Tensor) -> Tensor:
            total = torch.zeros_like(v)
            for rows, weight, pull in pulls:
                total.index_add_(0, rows, pull(weight * v[rows]))
            return total

        return out, pullback

    def vjp(self, x: Tensor, sigma: Tensor | float, v: Tensor) -> Tensor:
        """J^H v with J the Jacobian of D at x; closed form for the Gaussian part, autograd through the network."""
        return self.denoise_vjp(x, sigma)[1](v)

    def teleport(self, x: Tensor, sigmas: Sequence[float]) -> tuple[Tensor, list[float]]:
        """x from sigmas[0] to the last level not below `sigma_teleport`, by the flow of the Gaussian; and the rest.

        Fewer than two levels up there leave all as it is.
        """
        shape = tuple(x.shape[1:])
        trusted = self.fade(shape)[1] if self.sigma_teleport is None else self._scale(shape) * self.sigma_teleport
        last = sum(sigma >= trusted for sigma in sigmas) - 1
        if last < 1:
            return x, list(sigmas)
        return self._gaussian(shape).flow(x, sigmas[0], sigmas[last]), list(sigmas[last:])

    def optimized(self, *arguments: Any, **options: Any) -> "HybridPrior":
        """A copy with `net.optimized(...)` of the same arguments; see `NetworkPrior.optimized`."""
        if not hasattr(self.net, "optimized"):
            raise TypeError(f"a network of type {type(self.net).__name__} has no optimized form.")
        net = self.net.optimized(*arguments, **options)
        return HybridPrior(net, self.gaussian, self.sigma_switch, self.octaves, self.sigma_teleport)

    def _scale(self, shape: Shape) -> float:
        """Of noise levels for this image size; bounded so that the network is not asked above its own levels."""
        scale = self.gaussian.level_scale(shape) if isinstance(self.gaussian, CoarseGaussian) else 1.0
        return min(scale, self.net.sigma_max / (self.sigma_switch * 2 ** (self.octaves / 2)))

    def _gaussian(self, shape: Shape) -> GaussianPrior:
        return self.gaussian.at(shape) if isinstance(self.gaussian, CoarseGaussian) else self.gaussian

    def _shares(self, x: Tensor, sigma: Tensor | float) -> Iterator[tuple[Prior, Tensor, Tensor, Tensor]]:
        """Each part that is needed, the samples that need it, its weight (n, 1, 1, 1) and noise level (n,) for them."""
        level, shape = per_sample(sigma, x), tuple(x.shape[1:])
        share = self._weight(sigma, len(x), shape)
        makers: tuple[tuple[Tensor, Callable[[], Prior]], ...] = (
            (1 - share, lambda: self.net),
            (share, lambda: self._gaussian(shape)),
        )
        for weight, make in makers:
            if bool((weight > 0).any()):
                rows = weight.nonzero()[:, 0].to(x.device)
                yield make(), rows, over(weight.to(level), x)[rows], level[rows]

    def _weight(self, sigma: Tensor | float, batch: int, shape: Shape) -> Tensor:
        """w of each sample, (B,), on the CPU: levels that are numbers, as those of solvers, never stall a device."""
        t = (torch.as_tensor(sigma, dtype=torch.float64, device="cpu") / self.fade(shape)[0]).log2() / self.octaves
        t = t.clamp(0, 1)
        return (3 * t**2 - 2 * t**3).expand(batch)


Axes = tuple[int | None, ...]


def _common(shape: Axes | None, gaussian: GaussianPrior | CoarseGaussian) -> Axes:
    """The image shapes that both parts take."""
    own, other = shape or (None, None, None), gaussian.shape or (None, None, None)
    if any(a is not None and b is not None and a != b for a, b in zip(own, other, strict=True)):
        raise ValueError(f"the network takes images {own} and the Gaussian {other}; both must agree.")
    return tuple(b if a is None else a for a, b in zip(own, other, strict=True))
