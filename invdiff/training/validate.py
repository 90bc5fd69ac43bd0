"""PSNR(sigma) = mean of 10 log10(4 / MSE) over held-out images: how well D(x0 + sigma n; sigma) finds x0.

Images, noise and noise levels are the same at every report; the MSE is per real component, and 4 is the square of the
data range of images in (-1, 1). Analytic priors that are fitted on training images stand beside the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from invdiff.priors.channels import from_channels, to_channels
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.training.augment import smooth_phase, turn_phase
from invdiff.training.batches import prior_units
from invdiff.training.config import Config
from invdiff.training.draws import Draws
from invdiff.training.slices import Slices, spread

Table = dict[str, float]  # noise level to PSNR in dB
HELD_OUT, FITTED = 1, 2  # numbers of fixed streams
_CHUNK = 8


@dataclass(frozen=True)
class Held:
    """Held-out images in units of the prior, and their noise, (N, 1, S, S), real or complex."""

    images: Tensor
    noise: Tensor

    def psnr(self, prior: Prior, sigmas: Sequence[float]) -> Table:
        """One mean for each noise level."""
        return {f"{sigma:g}": float(self._each(prior, sigma).mean()) for sigma in sigmas}

    @torch.no_grad()
    def _each(self, prior: Prior, sigma: float) -> Tensor:
        pairs = zip(self.images.split(_CHUNK), self.noise.split(_CHUNK), strict=True)
        return torch.cat([psnr(prior(x0 + sigma * n, sigma), x0) for x0, n in pairs])


def psnr(x: Tensor, x0: Tensor) -> Tensor:
    """10 log10(4 / MSE) of each image, the MSE per real component, (N,) in dB."""
    return 10 * torch.log10(4 / to_channels(x - x0).square().mean((1, 2, 3)))


def held_images(slices: Slices, config: Config, device: torch.device | str = "cpu") -> Held:
    """Fixed validation images, evenly spaced over the held-out slices."""
    images = prepared(spread(slices, config.validation.images), config, HELD_OUT).to(device)
    return Held(images, Noise(range(len(images)), device).like(images))


def analytic_tables(slices: Slices, held: Held, config: Config) -> dict[str, Table]:
    """The same table for analytic priors fitted on training slices, by name; empty where none are wanted."""
    wanted = config.validation
    if not wanted.fit or len(slices) < 2:
        return {}
    u = spread(slices, wanted.fit)
    gaussian = GaussianPrior.fit(prepared(u, config, FITTED), "stationary")
    priors = {"stationary Gaussian": gaussian, "patch mixture": _mixture(u, config)}
    on_cpu = Held(held.images.cpu(), held.noise.cpu())
    return {name: on_cpu.psnr(prior, wanted.sigmas) for name, prior in priors.items()}


def _mixture(u: list[Tensor], config: Config) -> PatchMixturePrior:
    """Fitted to magnitudes where the phase is synthetic: cheaper, and the phase of patches counts as unknown anyway."""
    magnitudes, about = config.augment.phase and len(u[0]) == 1, config
    if magnitudes:
        real, still = replace(config.data, channels="real"), replace(config.augment, phase=False)
        about = replace(config, data=real, augment=still)
    v = config.validation
    mixture = PatchMixturePrior.fit(prepared(u, about, FITTED), v.components, v.rank, v.patch, patches=v.patches)
    return mixture.as_complex() if magnitudes else mixture


def prepared(u: list[Tensor], config: Config, stream: int) -> Tensor:
    """Scaled slices as clean images of the training size: averaged over areas, with a fixed smooth phase."""
    size = config.batch.size
    x = torch.cat([_fitted(image[None], size) for image in u])
    if config.augment.phase:
        x = turn_phase(x, smooth_phase(Draws((stream,), len(x)), (size, size)))
    return from_channels(prior_units(x, config), config.data.channels == "complex")


def _fitted(u: Tensor, size: int) -> Tensor:
    """Shrunk or stretched until the longer side is `size`, and zero beyond the shorter one; (1, C, H, W)."""
    height, width = (max(1, round(n * size / max(u.shape[-2:]))) for n in u.shape[-2:])
    u = F.interpolate(u, size=(height, width), mode="area")
    top, left = (size - height) // 2, (size - width) // 2
    return F.pad(u, (left, size - width - left, top, size - height - top))
