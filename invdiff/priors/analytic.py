"""What the closed-form priors share: attributes, checks of the input, precision, files, noise for sampling."""

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Generator, Tensor

from invdiff.module import Movable
from invdiff.priors.container import as_tuple, not_a_prior, read_content, read_tensors, write_pair
from invdiff.priors.mismatch import Checkable
from invdiff.priors.prior import fits, per_sample
from invdiff.priors.reference import stored
from invdiff.random import Noise, streams
from invdiff.shapes import over

Seed = int | Generator | Noise | None
P = TypeVar("P", bound="AnalyticPrior")
DESCRIBED = ("range", "sigma_min", "sigma_max", "domain", "percentile", "window")


class AnalyticPrior(Checkable, Movable):
    """A prior that is a formula. Computes in the precision of its own tensors and returns that of x.

    A complex prior stands for circular complex images: x e^{i phi} is as likely as x. Its covariances, like sigma, are
    per real component: C = E[(x - mu)(x - mu)^H] / 2, so that the real parts alone have covariance Re C, and the
    formulas are those of a real prior.

    Args:
        shape: (C, H, W); None leaves an axis free.
        is_complex: whether images are complex.

    Subclasses define `forward(x, level)` and `_vjp(x, level, v)` with level (B,), all in the prior's precision; those
    with a `kind` can be saved, and define `tensors()`, `scalars()` and `restored(tensors, scalars)`.
    """

    kind: ClassVar[str] = ""

    def __init__(self, shape: tuple[int | None, ...], is_complex: bool) -> None:
        super().__init__()
        self.shape: tuple[int | None, ...] | None = shape
        self.complex = is_complex
        self.range = (-1.0, 1.0)
        self.sigma_min, self.sigma_max = 0.002, 80.0
        self.domain = ""
        self.percentile: float | None = None
        self.window: tuple[float, float] | None = None

    def describe(
        self: P,
        *,
        range: tuple[float, float] | None = None,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        domain: str | None = None,
        percentile: float | None = None,
        window: tuple[float, float] | None = None,
    ) -> P:
        """Set those attributes of the prior protocol that are given; returns the prior itself."""
        given = {
            "range": range,
            "sigma_min": sigma_min,
            "sigma_max": sigma_max,
            "domain": domain,
            "percentile": percentile,
            "window": window,
        }
        for name, value in given.items():
            if value is not None:
                setattr(self, name, value)
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Of the images the prior computes with."""
        real = next(self.buffers()).dtype.to_real()
        return real.to_complex() if self.complex else real

    @property
    def device(self) -> torch.device:
        return next(self.buffers()).device

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x0 + sigma n = x], (B, C, H, W) in the dtype of x; sigma a number or (B,)."""
        self._check(x)
        inner = x.to(self.dtype)
        out: Tensor = super().__call__(inner, per_sample(sigma, inner))
        return out.to(x.dtype)

    def vjp(self, x: Tensor, sigma: Tensor | float, v: Tensor) -> Tensor:
        """J^H v in closed form, with J the Jacobian of D at x. Where D is an exact posterior mean, J is symmetric."""
        self._check(x)
        inner = x.to(self.dtype)
        return self._vjp(inner, per_sample(sigma, inner), v.to(self.dtype)).to(x.dtype)

    def posterior_cov(self, x: Tensor, sigma: Tensor | float, v: Tensor) -> Tensor:
        """Cov[x0 | x0 + sigma n = x] v = sigma^2 J v, (B, C, H, W), per real component.

        Source: the second-order Tweedie identity; exact where D is the exact posterior mean.
        """
        return over(per_sample(sigma, x) ** 2, x) * self.vjp(x, sigma, v)

    def save(self, path: str | Path, card: dict[str, Any] | None = None) -> None:
        """Write PATH.safetensors and PATH.json, each whole or not at all.

        Args:
            path: ending in .safetensors.
            card: what a user should know: data, licence, validation.
        """
        about = {name: getattr(self, name) for name in DESCRIBED}
        tensors = {name: t.detach().cpu() for name, t in self.tensors().items()}
        content = {"kind": self.kind, **self.scalars(), **about, **stored(self), "card": card or {}}
        write_pair(Path(path), tensors, content)

    @classmethod
    def load(cls: type[P], path: str | Path) -> P:
        """The prior that `save` wrote.

        Raises:
            ValueError: files that are missing, altered or of another kind.
        """
        content = read_content(Path(path))
        if content.get("kind") != cls.kind:
            raise ValueError(f"{path} is a prior of kind {content.get('kind')!r}; load_prior opens every kind.")
        tensors = read_tensors(Path(path), content.get("sha256"))
        try:
            prior = cls.restored(tensors, content)
            return prior.describe(**{name: as_tuple(content[name]) for name in DESCRIBED})
        except (KeyError, TypeError) as error:
            raise not_a_prior(Path(path).with_suffix(".json"), error) from error

    def tensors(self) -> dict[str, Tensor]:
        """For a file."""
        raise NotImplementedError(f"{type(self).__name__} has no files.")

    def scalars(self) -> dict[str, Any]:
        """For the text beside that file: what is not a tensor and not in DESCRIBED."""
        raise NotImplementedError(f"{type(self).__name__} has no files.")

    @classmethod
    def restored(cls: type[P], tensors: dict[str, Tensor], scalars: dict[str, Any]) -> P:
        """The prior made of both."""
        raise NotImplementedError(f"{cls.__name__} has no files.")

    def _vjp(self, x: Tensor, level: Tensor, v: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _vjp(x, level, v).")

    def _check(self, x: Tensor) -> None:
        if self.shape is None or x.ndim != len(self.shape) + 1 or not fits(self.shape, tuple(x.shape[1:])):
            wanted = ", ".join("any" if n is None else str(n) for n in self.shape or ())
            raise ValueError(f"{type(self).__name__} takes images (B, {wanted}), got {tuple(x.shape)}.")
        if x.is_complex() != self.complex:
            kind = "complex" if self.complex else "real"
            raise TypeError(f"{type(self).__name__} is a prior of {kind} images, got {x.dtype}.")


def noise_for(count: int, seed: Seed, device: torch.device) -> Noise:
    """`count` streams of a seed, or the streams given.

    Raises:
        ValueError: the streams given are not `count`.
    """
    if not isinstance(seed, Noise):
        return streams(seed, count, device=device)[0]
    if len(seed.generators) != count:
        raise ValueError(f"{count} samples need {count} streams, the Noise given has {len(seed.generators)}.")
    return seed


def check_images(images: Tensor, minimum: int) -> None:
    """Refuse training images unless they are a finite (N, C, H, W) with N >= minimum."""
    if images.ndim != 4 or len(images) < minimum:
        raise ValueError(f"a fit takes images (N, C, H, W), N at least {minimum}, got {tuple(images.shape)}.")
    if not (images.is_floating_point() or images.is_complex()):
        raise TypeError(f"a fit takes float or complex images, got {images.dtype}.")
    if not bool(torch.isfinite(images).all()):
        raise ValueError("a fit takes finite images; these hold NaN or infinity.")


def extent(images: Tensor) -> tuple[float, float]:
    """(low, high) of the real components."""
    values = torch.view_as_real(images.resolve_conj()) if images.is_complex() else images
    return float(values.min()), float(values.max())
