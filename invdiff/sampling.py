"""dx / d sigma = (x - D(x; sigma)) / sigma, from sigma_max to 0: images drawn from a prior alone.

The ODE of Karras et al. by three methods of different order. "2m" reaches the accuracy of "heun" at half of its
evaluations, and is the default.

Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022 (ODE, Heun, levels);
Lu et al., DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models, 2022, Algorithm 2 (2M);
Song et al., Denoising Diffusion Implicit Models, 2021, equation 16 (eta).
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor

from invdiff.checks import nearest, require
from invdiff.diffusion.schedule import levels
from invdiff.diffusion.step import ddim, multistep
from invdiff.monitor import Monitor
from invdiff.priors.prior import Prior, fits
from invdiff.priors.prior import teleport as passed
from invdiff.random import Noise, streams
from invdiff.shapes import Shape
from invdiff.solvers.method import Callback
from invdiff.units import identity


def sample(
    prior: Prior,
    n: int,
    shape: Shape | None = None,
    *,
    steps: int = 36,
    method: str = "2m",
    grid: str = "karras",
    eta: float = 0.0,
    seed: int | Generator | None = None,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    teleport: bool = True,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: bool | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> Tensor:
    """n draws from the prior, in its units.

    Args:
        prior: a denoiser. It is called once a level, by "heun" twice, on all n images together.
        n: images; each has its own stream of the seed and does not depend on the others.
        shape: (C, H, W); may be left out for a prior of one shape.
        steps: noise levels. grid: their spacing, "karras" or "vp".
        method: "2m" (DPM-Solver++, second order), "heun" (second order, two evaluations a level) or "euler" (DDIM).
        eta: fresh noise of "euler", from 0, the ODE, to 1, the ancestral sampler of DDPM.
        seed: an integer, a `torch.Generator`, or None for a fresh one.
        sigma_min, sigma_max: last and first level; by default `sigma_min` and, where there is one, `sigma_start` of the
            prior, else `sigma_max`. Noise of the first level must hide the images: 10 is short of it for large smooth
            structures on 128 x 128 pixels, which then come out too faint.
        teleport: pass the levels that the prior solves in closed form, where it has such (see `HybridPrior`).
        device: where to draw, that of the prior. dtype: real; a complex prior gives the complex one of its precision.
        progress: show a bar; None does so on a terminal only.
        callback: receives a dictionary with step, steps, x (the estimate of the clean images) and sigma at every step.

    Returns:
        (n, C, H, W), real or complex as the prior.

    Raises:
        ValueError: an unknown method or grid, a shape the prior does not take, an option out of its range.
        Diverged: an image is no longer finite; names the step.
    """
    if method not in SAMPLERS:
        raise ValueError(f"unknown sampler {method!r}.{nearest(method, SAMPLERS)}")
    require("n", n, at_least=1)
    require("eta", eta, at_least=0, at_most=1)
    if eta > 0 and method != "euler":
        raise ValueError(f"eta is fresh noise, and {method!r} follows the ODE: pass eta=0, or method='euler'.")
    top = getattr(prior, "sigma_start", prior.sigma_max) if sigma_max is None else sigma_max
    sigmas = levels(grid, steps, prior.sigma_min if sigma_min is None else sigma_min, top)
    noise, _ = streams(seed, n, device=device)
    blank = torch.zeros(n, *_shape(prior, shape), dtype=dtype.to_complex() if prior.complex else dtype, device=device)
    x = blank + sum(prior.range) / 2 + sigmas[0] * noise.like(blank)
    units = identity(n, blank.device)
    with torch.no_grad(), Monitor("sample", units, progress, callback) as monitor:
        x, sigmas = passed(prior, x, sigmas) if teleport else (x, sigmas)
        x = SAMPLERS[method](prior, x, sigmas, eta, noise, monitor.watch(units))
        monitor.finish(x)
    return x


def _shape(prior: Prior, shape: Shape | None) -> Shape:
    wanted = shape or tuple(axis or 0 for axis in prior.shape or ())
    if len(wanted) != 3 or min(wanted) < 1 or not fits(prior.shape, wanted):
        raise ValueError(f"shape must be a (C, H, W) that the prior takes, {prior.shape or 'any'}; got {shape}.")
    return wanted


def _euler(prior: Prior, x: Tensor, sigmas: Sequence[float], eta: float, noise: Noise, report: Callback) -> Tensor:
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = prior(x, sigma)
        fresh = eta * math.sqrt(1 - (sigma_next / sigma) ** 2)
        x = ddim(x, x0, x0, sigma, sigma_next, fresh, noise)
        report(i, len(sigmas) - 1, x=x, x0=x0, sigma=sigma)
    return x


def _heun(prior: Prior, x: Tensor, sigmas: Sequence[float], eta: float, noise: Noise, report: Callback) -> Tensor:
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = prior(x, sigma)
        slope = (x - x0) / sigma
        ahead = x + (sigma_next - sigma) * slope
        if sigma_next > 0:
            slope = (slope + (ahead - prior(ahead, sigma_next)) / sigma_next) / 2
            ahead = x + (sigma_next - sigma) * slope
        x = ahead
        report(i, len(sigmas) - 1, x=x, x0=x0, sigma=sigma)
    return x


def _two_m(prior: Prior, x: Tensor, sigmas: Sequence[float], eta: float, noise: Noise, report: Callback) -> Tensor:
    before, h_before = None, math.inf
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0 = prior(x, sigma)
        h = math.log(sigma / sigma_next) if sigma_next > 0 else math.inf
        x = multistep(x, x0, before, sigma, sigma_next, h / h_before)
        before, h_before = x0, h
        report(i, len(sigmas) - 1, x=x, x0=x0, sigma=sigma)
    return x


Sampler = Callable[[Prior, Tensor, Sequence[float], float, Noise, Callback], Tensor]
SAMPLERS: dict[str, Sampler] = {"2m": _two_m, "heun": _heun, "euler": _euler}
