"""SITCOM: step-wise triple-consistent sampling.

At each noise level the network input v is optimised,

    v = argmin |A f(v) - y|^2 / |A|^2 + lam |v - x_t|^2,   f(v) = D(v; sigma),

so that f(v) agrees with the data (measurement consistency), is an output of the denoiser (backward consistency), and v
stays near the current state; then the forward kernel takes f(v) to the next level (forward consistency).

Two inner solvers: "adam", as published, an evaluation and an input gradient a step; and, for linear operators, "tilt"
(see `tilted`), which looks for v = x_t + A^H q, at one evaluation a step and no gradient.

Source: Alkhouri et al., SITCOM: Step-wise Triple-Consistent Diffusion Sampling for Inverse Problems, ICML 2025,
Algorithm 1.
Differs: the data term is divided by |A|^2, so that one learning rate serves every operator; each sample stops by its
own residual; the estimate that is kept is evaluated after the last inner step; nothing is clipped; levels stay within
the range of the prior and are spaced as by Karras et al., 2022, which puts more of them where details settle.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from invdiff.checks import nearest, require
from invdiff.diffusion.step import renoise
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior, denoise_vjp
from invdiff.random import Noise
from invdiff.shapes import norm, over
from invdiff.solvers.adam import Adam
from invdiff.solvers.first_image import levels_from
from invdiff.solvers.method import Callback, depart, operator_norm
from invdiff.solvers.tilt import tilted

REFERENCE = """@inproceedings{alkhouri2025sitcom,
  title = {{SITCOM}: Step-wise Triple-Consistent Diffusion Sampling for Inverse Problems},
  author = {Alkhouri, Ismail and Liang, Shijun and Huang, Cheng-Han and Dai, Jimmy and Qu, Qing and
            Ravishankar, Saiprasad and Wang, Rongrong},
  booktitle = {International Conference on Machine Learning},
  year = {2025}
}"""
SOLVERS = {"adam": 20, "tilt": 5}  # and their inner steps


def sitcom(
    y: Tensor,
    op: Operator,
    prior: Prior,
    *,
    sigma_y: Tensor,
    noise: Noise,
    callback: Callback,
    steps: int = 20,
    grid: str = "karras",
    solver: str = "adam",
    inner: int | None = None,
    lr: float = 0.02,
    lam: float = 0.0,
    stop: float = 1.02,
    tol: float = 1e-3,
    teleport: bool = False,
    sigma_first: float | None = None,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out) in the prior's units; returns (B, *op.shape_in).

    Args:
        sigma_y: (B,) noise standard deviation per real component.
        steps: noise levels N. grid: their spacing, "karras" or the paper's "vp" (equal in DDPM time).
        solver: of the inner problem, "adam" or "tilt" (linear operators). On training slices of brain-mri, 4x
            single-coil, Adam gave 31.0 dB at a noise of 0.01 (358 evaluations, 338 gradients) and 28.0 dB at 0.05 (284,
            264), the tilt 30.9 and 28.1 dB (120 evaluations, no gradient).
        inner: its steps K per level at most: 20 of "adam", 5 of "tilt" unless given.
        lr: Adam's learning rate in variance-preserving coordinates, images in [-1, 1].
        lam: weight of |v - x_t|^2 with Adam (the paper uses 0 or 1 by task; its effect is small).
        stop: with Adam, a level ends for a sample once |A f(v) - y| <= stop sigma_y sqrt(m), m the number of real
            measurements,
        tol: or once that is below tol |y| (the only criterion where sigma_y is 0).
        teleport: begin below the levels that the prior passes in closed form, where it has such (see `HybridPrior`).
            Off by default, since every level is an optimisation: 29 % fewer of 111 evaluations cost about 0.5 dB
            (single-coil MRI at 4x, brain-mri with its switch at 4).
        sigma_first: begin at this level, from the operator's first image; None: from the prior's highest, where the
            operator has no image of its own (see `first_image`).
    """
    require("lr", lr, above=0)
    require("lam", lam, at_least=0)
    delta = torch.maximum(stop * sigma_y * op.measured(y.is_complex()) ** 0.5, tol * norm(y))
    estimate = inner_solver(solver, y, op, prior, sigma_y, delta, inner, lr, lam)
    sigmas, image = levels_from(sigma_first, y, op, prior, noise, grid, steps)
    x, sigmas = depart(y, op, prior, noise, sigmas, teleport, image)
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x0, misfit = estimate(x, sigma)
        x = renoise(x0, sigma_next, noise)
        callback(i, len(sigmas) - 1, x=x, x0=x0, sigma=sigma, misfit=misfit)
    return x0


def inner_solver(
    solver: str,
    y: Tensor,
    op: Operator,
    prior: Prior,
    sigma_y: Tensor,
    delta: Tensor,
    inner: int | None,
    lr: float,
    lam: float,
) -> Callable[[Tensor, float], tuple[Tensor, Tensor]]:
    """The map from a state and its noise level to f(v) and its misfit.

    Raises:
        ValueError: an unknown solver, one that the operator does not allow, or fewer than one step.
    """
    if solver not in SOLVERS:
        raise ValueError(f"unknown solver {solver!r}.{nearest(solver, SOLVERS)}")
    inner = SOLVERS[solver] if inner is None else inner
    require("inner", inner, at_least=1)
    if solver == "adam":
        return partial(descend, y, op, prior, delta=delta, inner=inner, lr=lr, lam=lam)
    if not isinstance(op, LinearOperator):
        raise ValueError('solver="tilt" needs a linear operator. Use solver="adam".')
    return partial(tilted, y, op, prior, sigma_y=sigma_y, inner=inner)


def descend(
    y: Tensor, op: Operator, prior: Prior, x: Tensor, sigma: float, *, delta: Tensor, inner: int, lr: float, lam: float
) -> tuple[Tensor, Tensor]:
    """f(v) and |A f(v) - y| after at most `inner` Adam steps on v from x, each sample until its misfit is delta."""
    scale = operator_norm(op) ** 2
    a = (1 + sigma**2) ** -0.5  # variance-preserving v = a * (variance-exploding v)
    v, adam = a * x, Adam(lr)
    for _ in range(inner):
        x0, pull = denoise_vjp(prior, v / a, sigma)
        residual = op(x0) - y
        misfit = norm(residual)
        active = misfit > delta
        if not bool(active.any()):
            return x0, misfit
        gradient = pull(op.vjp(x0, residual)) / (a * scale) + lam * (v - a * x)
        v = v - over(active, v) * adam.step(2 * gradient)
    x0 = prior(v / a, sigma)
    return x0, norm(op(x0) - y)
