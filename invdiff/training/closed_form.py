"""x_1, ..., x_N -> D(x; sigma): priors in closed form, fitted to slices as the networks are trained on them.

Scale, units and validation are those of `invdiff.training`, so that the tables compare.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.priors.analytic import AnalyticPrior
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.local_wiener import LocalWienerPrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.training.config import SIGMAS, Augment, Batch, Config, Data, Validation
from invdiff.training.export import attenuation
from invdiff.training.slices import Slices
from invdiff.training.toml import ConfigError
from invdiff.training.validate import FITTED, Table, held_images, prepared

LOCAL = ("patch-mixture", "wiener")
LEVELS = (0.01, 5.0)  # of these; above, a patch says nothing but its mean, and samplers would only waste steps there


@dataclass(frozen=True)
class Fit:
    """What is fitted to which images.

    kind: a key of KINDS. data: images and their scale. sizes: sides that images are brought to, in pixels; only patches
    can come from several. count: images used, at most. rank: None for the default of the kind.
    """

    data: Data
    kind: str = "patch-mixture"
    sizes: tuple[int, ...] = (128,)
    count: int = 400
    components: int = 64
    rank: int | None = None
    patch: int = 8
    stride: int | None = None
    patches: int = 50_000
    iterations: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("count", "components", "patch", "patches"):
            require(name, getattr(self, name), at_least=1)
        for name in ("rank", "stride"):
            if getattr(self, name) is not None:
                require(name, getattr(self, name), at_least=1)
        if self.kind != "patch-mixture" and len(self.sizes) != 1:
            raise ConfigError(f"--kind {self.kind} is for images of one size; give one --size, got {self.sizes}.")

    @property
    def is_complex(self) -> bool:
        return self.data.channels == "complex"

    def config(self, size: int, phase: bool) -> Config:
        """The training that would use the same images; `phase`: magnitudes get a random one."""
        return Config(data=self.data, batch=Batch(size=size, crop=min(size, 64)), augment=Augment(phase=phase))

    def of(self, path: str | Path) -> "Fit":
        """The same of other images."""
        return dataclasses.replace(self, data=dataclasses.replace(self.data, path=str(path)))


def fit_prior(fit: Fit, train: Slices, has_phase: bool) -> AnalyticPrior:
    """The prior, in the units that `fit.data` gives the slices.

    Args:
        train: slices to fit to.
        has_phase: whether they are complex; a complex prior of magnitudes takes their phase as unknown.
    """
    prior = KINDS[fit.kind](fit, train, has_phase)
    if fit.kind in LOCAL:
        prior.describe(sigma_min=LEVELS[0], sigma_max=LEVELS[1])
    is_window = fit.data.scaling == "window"
    return prior.describe(
        range=(-1.0, 1.0) if is_window or fit.is_complex else (0.0, 1.0),
        percentile=None if is_window else fit.data.percentile,
        window=attenuation(fit.data) if is_window else None,
    )


def validate(fit: Fit, prior: AnalyticPrior, held_out: Slices, has_phase: bool, count: int = 48) -> Table:
    """Denoising PSNR in dB of held-out slices at each of SIGMAS, see `invdiff.training.validate`."""
    config = fit.config(fit.sizes[0], fit.is_complex and not has_phase)
    config = dataclasses.replace(config, validation=Validation(images=count))
    return held_images(held_out, config).psnr(prior, SIGMAS)


def choose(slices: Slices, count: int, balance: float) -> list[Tensor]:
    """`count` slices evenly spaced, each counted (slices of its subject)^-balance; fewer where all count the same."""
    known = {name: i for i, name in enumerate(dict.fromkeys(slices.subjects))}
    number = torch.tensor([known[name] for name in slices.subjects])
    weights = torch.bincount(number)[number].double().pow(-balance)
    if bool((weights == weights[0]).all()):
        count = min(count, len(slices))
    edges = weights.cumsum(0)
    at = (torch.arange(count, dtype=torch.float64) + 0.5) / count * edges[-1]
    return [slices[int(i)] for i in torch.searchsorted(edges, at).clamp(max=len(slices) - 1)]


def _images(fit: Fit, train: Slices, *, phase: bool, is_complex: bool) -> list[Tensor]:
    """Chosen slices in units of the prior, (1, S, S) each."""
    fit = dataclasses.replace(fit, data=dataclasses.replace(fit.data, channels="complex" if is_complex else "real"))
    chosen = choose(train, fit.count, fit.data.balance)
    return [image for size in fit.sizes for image in prepared(chosen, fit.config(size, phase), FITTED)]


def _patch_mixture(fit: Fit, train: Slices, has_phase: bool) -> AnalyticPrior:
    prior = PatchMixturePrior.fit(
        _images(fit, train, phase=False, is_complex=has_phase),
        fit.components,
        fit.rank or 16,
        fit.patch,
        fit.stride or 2,
        patches=fit.patches,
        iterations=fit.iterations,
        seed=fit.seed,
        progress=True,
    )
    return prior.as_complex() if fit.is_complex else prior


def _gaussian(fit: Fit, train: Slices, has_phase: bool) -> AnalyticPrior:
    images = _images(fit, train, phase=fit.is_complex and not has_phase, is_complex=fit.is_complex)
    return GaussianPrior.fit(torch.stack(images), "low-rank", fit.rank or 50)


def _stationary(fit: Fit, train: Slices, has_phase: bool) -> AnalyticPrior:
    images = _images(fit, train, phase=fit.is_complex and not has_phase, is_complex=fit.is_complex)
    return GaussianPrior.fit(torch.stack(images), "stationary")


def _wiener(fit: Fit, train: Slices, has_phase: bool) -> AnalyticPrior:
    images = _images(fit, train, phase=False, is_complex=has_phase)
    prior = LocalWienerPrior.fit(torch.stack(images), fit.patch, fit.stride or fit.patch // 2)
    return prior.as_complex() if fit.is_complex else prior


KINDS: dict[str, Callable[[Fit, Slices, bool], AnalyticPrior]] = {
    "patch-mixture": _patch_mixture,
    "gaussian": _gaussian,
    "stationary": _stationary,
    "wiener": _wiener,
}
