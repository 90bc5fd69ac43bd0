"""How far two forms of a prior are apart: relative errors of D and of J^H v at a few noise levels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from invdiff.priors.prior import Prior, denoise_vjp
from invdiff.random import streams
from invdiff.shapes import norm


@dataclass(frozen=True)
class Agreement:
    """Per noise level, the largest over the images.

    sigmas: noise levels. denoised: |D - D_ref| / |D_ref|. gradient: the same of J^H v for random v.
    in_noise: root mean square of D - D_ref per real component, in units of sigma.
    """

    sigmas: tuple[float, ...]
    denoised: tuple[float, ...]
    gradient: tuple[float, ...]
    in_noise: tuple[float, ...]

    def __str__(self) -> str:
        rows = zip(self.sigmas, self.denoised, self.gradient, self.in_noise, strict=True)
        lines = [f"{s:9.3g}{d:12.2g}{g:12.2g}{n:12.2g}" for s, d, g, n in rows]
        return "\n".join([f"{'sigma':>9}{'D':>12}{'J^H v':>12}{'in sigma':>12}", *lines])


def compare(prior: Prior, reference: Prior, images: Tensor, sigmas: Sequence[float], seed: int = 0) -> Agreement:
    """`prior` against `reference` on clean images (B, C, H, W), with fixed noise of its own."""
    noise = streams(seed, len(images), device=images.device)[0]
    n, v = noise.like(images), noise.like(images)
    rows = [_errors(prior, reference, images + sigma * n, sigma, v) for sigma in sigmas]
    denoised, gradient, in_noise = zip(*rows, strict=True)
    return Agreement(tuple(sigmas), denoised, gradient, in_noise)


def _errors(prior: Prior, reference: Prior, x: Tensor, sigma: float, v: Tensor) -> tuple[float, float, float]:
    with torch.no_grad():
        (x0, pull), (known, known_pull) = (denoise_vjp(p, x, sigma) for p in (prior, reference))
        gradient, known_gradient = pull(v), known_pull(v)
    pixels = torch.view_as_real(x).numel() if x.is_complex() else x.numel()
    off = norm(x0 - known)
    return (
        float((off / norm(known)).max()),
        float((norm(gradient - known_gradient) / norm(known_gradient)).max()),
        float(off.max() / (pixels / len(x)) ** 0.5 / sigma),
    )
