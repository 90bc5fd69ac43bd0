"""D(x; sigma) = E[x0 | x0 + sigma n = x]: what that says of any prior, checked by numbers.

For users who bring their own: `check_prior(prior, images)`.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invdiff.priors.prior import Prior, fits
from invdiff.random import streams
from invdiff.shapes import dot, norm

_ATTRIBUTES = ("shape", "range", "complex", "sigma_min", "sigma_max", "domain", "percentile", "window")


def check_prior(
    prior: Prior,
    images: Tensor | None = None,
    *,
    shape: tuple[int, int, int] | None = None,
    sigmas: Sequence[float] | None = None,
    seed: int = 0,
    tol: float = 1e-3,
) -> None:
    """Check that a prior keeps the protocol and that it denoises.

    Always: attributes; shape, dtype and finiteness of D; x left alone; the same result twice; no coupling within a
    batch; one sigma per sample; autograd against finite differences, and `vjp` against autograd. With images, or for a
    prior that has `sample(n, seed)`: the error of D is small, orthogonal to D - x and least at the true sigma;
    D forgets x as far as sigma hides it and tends to x as sigma falls.

    Args:
        prior: what to check.
        images: clean images of the prior's kind and range, (B, C, H, W), at least two; a handful of small ones will do.
        shape: (C, H, W) to test with where there are no images and the prior takes several sizes; axes left free
            default to 33.
        sigmas: noise levels to test; by default four between sigma_min and sigma_max, around the spread of the images.
        seed: of all noise.
        tol: relative tolerance where two evaluations should agree, for a prior that computes in single precision.

    Raises:
        AssertionError: a sentence on the first check that fails.
    """
    _check_attributes(prior)
    known = images is not None or hasattr(prior, "sample")
    x0 = _images(prior, images, shape, seed)
    levels = list(sigmas) if sigmas is not None else _levels(prior, x0)
    x = x0 + levels[len(levels) // 2] * _noise(x0, seed + 1)
    middle = levels[len(levels) // 2]
    _check_output(prior, x, middle, tol)
    _check_batch(prior, x, middle, levels[-1], tol)
    _check_gradient(prior, x, middle, seed, tol)
    if known:
        for sigma in levels:
            _check_denoising(prior, x0, sigma, seed + 2)
        _check_limits(prior, x0, seed + 3)


def _check_attributes(prior: Any) -> None:
    missing = [name for name in _ATTRIBUTES if not hasattr(prior, name)]
    _require(not missing, f"the prior lacks the attributes {', '.join(missing)}; see invdiff.priors.prior.Prior.")
    low, high = prior.range
    _require(low < high, f"range must be (low, high) with low < high, got {prior.range}.")
    _require(isinstance(prior.complex, bool), f"complex must be True or False, got {prior.complex!r}.")
    ordered = 0 < prior.sigma_min < prior.sigma_max
    _require(ordered, f"0 < sigma_min < sigma_max is needed, got {prior.sigma_min} and {prior.sigma_max}.")
    _require(isinstance(prior.domain, str), f"domain must be a string, got {prior.domain!r}.")


def _images(prior: Any, images: Tensor | None, shape: tuple[int, int, int] | None, seed: int) -> Tensor:
    """The images given, draws of the prior, or noise in its range."""
    if images is None and hasattr(prior, "sample"):
        images = prior.sample(8, seed)
    elif images is None:
        size = shape or tuple(n or 33 for n in prior.shape or (1, None, None))
        low, high = prior.range
        dtype = torch.complex64 if prior.complex else torch.float32
        images = (low + high) / 2 + (high - low) / 4 * _noise(torch.zeros(4, *size, dtype=dtype), seed)
    _require(images.ndim == 4 and len(images) >= 2, f"images must be (B, C, H, W), B >= 2, got {tuple(images.shape)}.")
    _require(images.is_complex() == prior.complex, f"prior.complex is {prior.complex}, the images are {images.dtype}.")
    image = tuple(images.shape[1:])
    _require(fits(prior.shape, image), f"prior.shape is {prior.shape}, the images are {image}.")
    return images


def _levels(prior: Any, x0: Tensor) -> list[float]:
    spread = max(_rms(x0 - x0.mean()), 1e-6)
    levels = [min(max(c * spread, prior.sigma_min), prior.sigma_max) for c in (0.1, 0.3, 1.0, 3.0)]
    return sorted(set(levels))


def _check_output(prior: Any, x: Tensor, sigma: float, tol: float) -> None:
    before = x.clone()
    with torch.no_grad():
        out, again = prior(x, sigma), prior(x, sigma)
    got = f"{tuple(out.shape)} {out.dtype}"
    _require(
        out.shape == x.shape and out.dtype == x.dtype, f"D must look like x, {tuple(x.shape)} {x.dtype}, got {got}."
    )
    _require(bool(torch.isfinite(out).all()), f"D(x; {sigma:.3g}) holds NaN or infinity.")
    _require(torch.equal(x, before), "the prior changed the x it was given.")
    off = _rms(out - again) / max(_rms(out), 1e-12)
    _require(off <= tol, f"two calls with the same x differ by {off:.2g}: is there dropout or fresh noise?")


def _check_batch(prior: Any, x: Tensor, sigma: float, other: float, tol: float) -> None:
    """Each sample as if alone, at its own sigma."""
    vector = torch.full((len(x),), sigma, dtype=x.dtype.to_real(), device=x.device)
    vector[1::2] = other
    with torch.no_grad():
        together, mixed = prior(x, sigma), prior(x, vector)
        alone = torch.cat([prior(x[i : i + 1], sigma) for i in range(len(x))])
        apart = torch.cat([prior(x[i : i + 1], float(vector[i])) for i in range(len(x))])
    off = _distance(together, alone, x)
    _require(off <= tol, f"a sample depends on its batch: D of the batch and of single images differ by {off:.2g}.")
    off = _distance(mixed, apart, x)
    _require(off <= tol, f"one sigma per sample, (B,), differs from single calls with those sigmas by {off:.2g}.")


def _check_gradient(prior: Any, x: Tensor, sigma: float, seed: int, tol: float) -> None:
    """Re<J^H v, d> against a central difference of Re<v, D> along d, and vjp against autograd."""
    d, v = _noise(x, seed + 10), _noise(x, seed + 11)
    leaf = x.detach().requires_grad_()
    out = prior(leaf, sigma)
    _require(out.requires_grad, "D cannot be differentiated in x: is there a no_grad or detach inside?")
    (pull,) = torch.autograd.grad(out, leaf, v)
    off = min(_slope_error(prior, x, sigma, step, d, v, pull) for step in (0.01, 0.1, 1.0))
    _require(
        off <= 0.05, f"autograd differs from finite differences by {off:.2g} of the gradient at sigma {sigma:.3g}."
    )
    if hasattr(prior, "vjp"):
        closed = prior.vjp(x.detach(), sigma, v)
        off = float((norm(closed - pull) / (norm(pull) + 1e-12)).max())
        _require(off <= 10 * tol, f"vjp differs from autograd by {off:.2g} at sigma {sigma:.3g}.")


def _slope_error(prior: Any, x: Tensor, sigma: float, step: float, d: Tensor, v: Tensor, pull: Tensor) -> float:
    """Of Re<pull, d>, relative to |pull|; a short step meets rounding, a long one curvature."""
    h = step * sigma / math.sqrt(x[0].numel())
    with torch.no_grad():
        slope = dot(v, prior(x + h * d, sigma) - prior(x - h * d, sigma)).real / (2 * h)
    return float(((dot(pull, d).real - slope).abs() / (norm(pull) + 1e-12)).max())


def _check_denoising(prior: Any, x0: Tensor, sigma: float, seed: int) -> None:
    """Bounds that hold for a posterior mean, with n = x - x0 and v the variance of all pixels of the images.

    |D - x0|^2 <= |n|^2 v / (v + sigma^2), what shrinking x towards a constant achieves; |D - x|^2 + |D - x0|^2 = |n|^2
    on average; and D at another sigma is worse.
    """
    x = x0 + sigma * _noise(x0, seed)
    with torch.no_grad():
        out = prior(x, sigma)
        others = {c: prior(x, c * sigma) for c in (0.5, 2.0) if prior.sigma_min <= c * sigma <= prior.sigma_max}
    noise, v = _rms(x - x0), _rms(x0 - x0.mean()) ** 2
    error, moved = _rms(out - x0) / noise, _rms(out - x) / noise
    at, bound = f"at sigma {sigma:.3g}", math.sqrt(v / (v + sigma**2))
    told = {c: _rms(other - x0) / noise for c, other in others.items()}
    text = ", ".join(f"{better:.3g} when told {c} sigma" for c, better in told.items())
    text = f"{at} the rms error of D is {error:.3g} sigma ({text})"
    _require(error < 1.05 * bound, f"{text}; shrinking x towards a constant leaves {bound:.3g}: wrong sign or sigma.")
    best = min(told.values(), default=error)
    _require(best**2 > 0.9 * error**2, f"{text}: the prior works for another sigma than it is told.")
    total = error**2 + moved**2
    slack = 0.35 + 3 / math.sqrt(x.numel())  # models that fit roughly, and chance on few values
    text = f"{at} |D - x0|^2 + |D - x|^2 should be |x - x0|^2, it is {total:.3g} times that"
    _require(abs(total - 1) < slack, f"{text} (rms of (D - x)/sigma {moved:.3g}): wrong sign, sigma or range.")


def _check_limits(prior: Any, x0: Tensor, seed: int) -> None:
    """D stays by x at sigma_min, and at sigma_max depends on it as little as a posterior mean can.

    With s^2 the variance of all values about a constant (a prior of patches knows no more of the mean image), a that of
    D, and D1, D2 for two noises on one image: E|D - x0|^2 = s^2 - a <= s^2 and, as E[D1 D2] >= a^2 / s^2 by Cauchy and
    Schwarz, E|D1 - D2|^2 <= 2 a (1 - a / s^2) <= s^2 / 2, whatever sigma. Where it is large, a is at most about
    n s^4 / sigma^2 for n values.
    """
    small = prior.sigma_min
    x = x0 + small * _noise(x0, seed)
    with torch.no_grad():
        moved = _rms(prior(x, small) - x) / small
    _require(moved < 1.5, f"at sigma_min {small:.3g} D should stay by x, it moves by {moved:.3g} sigma.")
    mean = torch.zeros_like(x0[0]) if prior.complex else x0.mean()  # a complex prior may not know the phase
    large, spread = prior.sigma_max, max(_rms(x0 - mean), 1e-12)
    with torch.no_grad():
        first, second = (prior(x0 + large * _noise(x0, seed + i), large) for i in (1, 2))
    values = x0[0].numel() * (2 if prior.complex else 1)
    bound = math.sqrt(2) * min(0.5, math.sqrt(values) * spread / large)
    change, error = _rms(first - second) / spread, _rms(first - x0) / spread
    _require(
        change < bound + 0.1,
        f"at sigma_max {large:.3g} fresh noise should move D by at most {bound:.3g} spreads of the images, it moves it "
        f"by {change:.3g}.",
    )
    _require(error < 1.3, f"at sigma_max {large:.3g} D should be the mean image; its error is {error:.3g} spreads.")


def _distance(a: Tensor, b: Tensor, x: Tensor) -> float:
    """Largest difference of a sample, relative to the size of x."""
    return float((norm(a - b) / (norm(x) + 1e-12)).max())


def _rms(x: Tensor) -> float:
    """Root mean square per real component."""
    return float(x.abs().square().mean().sqrt()) / math.sqrt(2.0 if x.is_complex() else 1.0)


def _noise(x: Tensor, seed: int) -> Tensor:
    return streams(seed, len(x), device=x.device)[0].like(x)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
