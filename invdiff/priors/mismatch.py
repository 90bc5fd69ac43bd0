"""Is this image one that the prior knows? a = 20 log10(|W(x) - x0| / |D(x; sigma) - x0|) at x = x0 + sigma n tells.

W is a denoiser that knows nothing of images (`shrinkage`). On its own images a prior beats it by some decibels; on
images of another kind that gain shrinks, whether they are hard to denoise or easy, and with it what the prior is worth
in a reconstruction against total variation. The gain on a reconstruction is close to that on the true image, but for
noise levels as low as the noise that is left in it. An image is unusual where the gain is less than the prior's own
images have, and a mismatch where it is also at no level as much as a reconstruction needs to profit.

`WORTH`, `UNUSUAL` and `SHARES` were chosen on 79 `dds` reconstructions with a brain prior of training slices, another
scanner, CT, photographs and phantoms: of 28 where TV or wavelets were better 16 are called a mismatch, of 39 where it
gained 0.5 dB or more 2. The tables of `recipes/mismatch_study.py` are of other images, and of a second prior.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from invdiff.priors.prior import Prior
from invdiff.priors.reference import ReferenceStatistics, Triple
from invdiff.priors.yardstick import shrinkage
from invdiff.random import streams
from invdiff.shapes import norm, over

SHARES = (0.4, 0.8, 1.6)  # noise levels, in units of the spread of the prior's own images
QUANTILES = (0.01, 0.5, 0.99)
UNUSUAL = 1.2  # shortfall of the gain, see `Report.shortfall`
WORTH = 2.6  # gain in dB below which reconstructions with the prior were mostly no better than with TV or wavelets
DIM, GLARING = 2.0, 4.0  # factors of the spread beyond those of own images
_CHUNK = 8  # images at once

Verdict = Literal["fits", "unusual", "mismatch", "faulty"]


class PriorMismatch(UserWarning):
    """The image is not of the kind that the prior knows, and the prior no clear help with it; or its scale is wrong."""


@dataclass(frozen=True)
class Report:
    """Images under a prior, (levels, B) each.

    sigmas: noise levels. error: |D - x0| / |x - x0|. moved: |D - x| / |x - x0|. gain: of D over `shrinkage`, dB.
    bound: what shrinking x towards 0 leaves, rms(x0) / sqrt(rms(x0)^2 + sigma^2), no denoiser should leave more.
    spread: (B,), standard deviation of the real components. reference: of the prior, None where it has none.
    domain: the prior's.
    """

    sigmas: tuple[float, ...]
    error: Tensor
    moved: Tensor
    gain: Tensor
    bound: Tensor
    spread: Tensor
    reference: ReferenceStatistics | None
    domain: str

    @property
    def best(self) -> Tensor:
        """The gain at the level where it is largest, (B,)."""
        return self.gain.amax(0)

    @property
    def shortfall(self) -> Tensor:
        """How far the mean gain is below the median of the prior's own images, (B,); 1: as the worst 1 % of them."""
        low, median, _ = _needed(self.reference).gain
        return (median - self.gain.mean(0)) / (median - low)

    @property
    def verdicts(self) -> list[Verdict]:
        """One for each image.

        "fits"; "unusual": unlike the prior's own, but `best` is enough to profit; "mismatch": unlike them and not
        enough, or far from their intensities. Without a reference "fits" or "faulty", which means that D is no
        denoiser: its error should be below `bound`, and |D - x0|^2 + |D - x|^2 should be about |x - x0|^2.
        """
        if self.reference is None:
            return ["fits" if ok else "faulty" for ok in (self._faults < 1).all(0).tolist()]
        unusual = ~(self.shortfall <= UNUSUAL)  # so that NaN is
        mismatch = self._misscaled | (unusual & ~(self.best >= WORTH))
        rows = zip(mismatch.tolist(), unusual.tolist(), strict=True)
        return ["mismatch" if m else "unusual" if u else "fits" for m, u in rows]

    @property
    def ok(self) -> bool:
        """Whether no image is a mismatch and no estimate faulty."""
        return not {"mismatch", "faulty"} & set(self.verdicts)

    @property
    def sentence(self) -> str:
        """What to say of the worst image; "" where all fit."""
        verdicts = self.verdicts
        kind = next((k for k in ("faulty", "mismatch", "unusual") if k in verdicts), None)
        if kind is None:
            return ""
        which = [i for i, verdict in enumerate(verdicts) if verdict == kind]
        if kind == "faulty":
            return self._faulty(which[0])
        count = f"{len(which)} of {len(verdicts)} images, the worst: " if len(verdicts) > 1 else "the image is "
        return count + self._foreign(kind, which)

    @property
    def _faults(self) -> Tensor:
        """1 or more where D is no denoiser, (levels, B)."""
        total = self.error.square() + self.moved.square()
        return torch.maximum(self.error / (1.05 * self.bound + 0.05), (total - 1).abs() / 0.35)

    @property
    def _misscaled(self) -> Tensor:
        """Whether the intensities are far from those known, (B,)."""
        low, _, high = _needed(self.reference).spread
        return (self.spread < low / DIM) | (self.spread > high * GLARING)

    def _foreign(self, kind: Verdict, which: list[int]) -> str:
        known = _needed(self.reference)
        worst = max(which, key=lambda i: (bool(self._misscaled[i]), float(self.shortfall[i])))
        if bool(self._misscaled[worst]):
            ratio = float(self.spread[worst]) / known.spread[1]
            return f"not scaled as those the prior knows: intensities spread {ratio:.2g} times as wide; check the scale"
        domain = f" ({self.domain})" if self.domain else ""
        gain, best = float(self.gain[:, worst].mean()), float(self.best[worst])
        compared = f"it denoises it {gain:.1f} dB better than wavelets do, images of its own {known.gain[1]:.1f} dB"
        if kind == "unusual":
            return f"unusual for the prior{domain}, which may still help: {compared}"
        return (
            f"not what the prior knows{domain}, by its content or by noise and artefacts, and the prior no clear help: "
            f"{compared}; reconstructions profit from about {WORTH} dB at some noise level, here at most {best:.1f}; "
            "prefer tv or wavelet"
        )

    def _faulty(self, i: int) -> str:
        level = int(self._faults[:, i].argmax())
        return (
            f"at sigma {self.sigmas[level]:.3g} |D - x0| is {float(self.error[level, i]):.2g} and |D - x| "
            f"{float(self.moved[level, i]):.2g} times |x - x0|, where shrinking x towards 0 leaves "
            f"{float(self.bound[level, i]):.2g}: wrong sign, noise level or range of the network"
        )


class Checkable:
    """A prior that can say whether it knows an image.

    Attributes:
        reference_statistics: of its own images, where they were recorded.
    """

    reference_statistics: ReferenceStatistics | None = None

    def check(self: Any, images: Tensor) -> Report:
        """Compare clean or reconstructed images (B, C, H, W), in the prior's units, with those that it was made for.

        A prior without reference statistics is only checked for being a denoiser on these images.
        """
        return check(self, images)


def check(prior: Prior, images: Tensor) -> Report:
    """See `Checkable.check`; for any prior."""
    known: ReferenceStatistics | None = getattr(prior, "reference_statistics", None)
    return measure(prior, images, known.sigmas if known else _span(prior), known)


def reference_statistics(prior: Prior, images: Tensor) -> ReferenceStatistics:
    """What to store with a prior: `measure` on clean images that it was made for and not trained on.

    Args:
        images: (N, C, H, W) in the prior's units, at least 10; a hundred make the percentiles steady.

    Raises:
        ValueError: too few images, not finite, all alike, or images on which D is no denoiser.
    """
    if images.ndim != 4 or len(images) < 10:
        raise ValueError(f"reference statistics need (N, C, H, W), N at least 10, got {tuple(images.shape)}.")
    middle = float(spread(images).median())
    low, mid, high = (min(max(share * middle, prior.sigma_min), prior.sigma_max) for share in SHARES)
    found = measure(prior, images, (low, mid, high), None)
    if not found.ok:
        raise ValueError(f"these are not images that the prior denoises: {found.sentence}.")
    gain, width = _percentiles(found.gain.mean(0)), _percentiles(found.spread)
    return ReferenceStatistics((low, mid, high), gain, width, len(images))


@torch.no_grad()
def measure(prior: Prior, images: Tensor, sigmas: Sequence[float], known: ReferenceStatistics | None) -> Report:
    """One evaluation per level and image, with the same fixed noise for all.

    Raises:
        ValueError: images are not a finite (B, C, H, W).
    """
    if images.ndim != 4 or not bool(torch.isfinite(images).all()):
        raise ValueError(f"images to check must be (B, C, H, W) and finite, got {tuple(images.shape)}.")
    n = streams(0, 1, device=images.device)[0].like(images[:1])
    parts = [
        torch.stack([torch.stack(_residuals(prior, x0, x0 + sigma * n, sigma)) for sigma in sigmas], 1)
        for x0 in images.split(_CHUNK)
    ]
    error, moved, gain, bound = torch.cat(parts, 2)
    return Report(tuple(sigmas), error, moved, gain, bound, spread(images), known, prior.domain)


def _residuals(prior: Prior, x0: Tensor, x: Tensor, sigma: float) -> tuple[Tensor, ...]:
    noise, out = norm(x - x0), prior(x, sigma)
    error, bound = norm(out - x0) / noise, norm(x0) / (norm(x0).square() + noise.square()).sqrt()
    gain = 20 * (norm(shrinkage(x, sigma) - x0) / norm(out - x0)).log10()
    return error, norm(out - x) / noise, gain, bound


def spread(x: Tensor) -> Tensor:
    """Standard deviation of the real components of each image about its mean, (B,)."""
    parts = 2 if x.is_complex() else 1
    return norm(x - over(x.flatten(1).mean(1), x)) / (x[0].numel() * parts) ** 0.5


def _percentiles(v: Tensor) -> Triple:
    low, median, high = torch.quantile(v.double(), torch.tensor(QUANTILES, dtype=torch.float64, device=v.device))
    return float(low), float(median), float(high)


def _span(prior: Prior, count: int = 5) -> tuple[float, ...]:
    """Noise levels over the prior's range, in equal ratios."""
    ratio = prior.sigma_max / prior.sigma_min
    return tuple(prior.sigma_min * ratio ** (i / (count - 1)) for i in range(count))


def _needed(known: ReferenceStatistics | None) -> ReferenceStatistics:
    if known is None:
        raise ValueError("the prior has no reference statistics; record them with `reference_statistics`.")
    return known
