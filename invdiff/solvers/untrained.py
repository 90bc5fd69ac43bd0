"""x = s mean_j g_theta(z + eta_j): an image that is the output of a network fitted to one measurement.

    theta <- Adam on  |A x - y|^2 / (s^2 |A|^2 n) + lam |mean_j g(z + eta_j) - z|^2 / n
    z     <- renew(x / s)   every so many iterations

with n the pixels and s the brightness of a first image, so that learning rates and lam transfer between scans. The
methods of this family are settings of this loop: which network, which z, which terms, when z is renewed, when to stop.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from invdiff.networks.generator_blocks import SMALLEST
from invdiff.operators.base import Operator
from invdiff.random import Noise
from invdiff.solvers.checkpoint import Checkpoint
from invdiff.solvers.fit_run import Fit, Run
from invdiff.solvers.method import Callback
from invdiff.solvers.problem import Problem
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Stop

__all__ = ["Fit", "Problem", "Renew", "fit", "fixed_noise", "not_planar"]

Renew = Callable[[Tensor, int], Tensor]


def fit(
    problem: Problem,
    replicas: Replicas,
    z: Tensor,
    settings: Fit,
    stop: Stop,
    *,
    noise: Noise,
    callback: Callback,
    renew: Renew | None = None,
    mask: dict[str, Tensor] | None = None,
) -> Tensor:
    """Fit a network to each y (B, *op.shape_out); returns the images that the stop rule chose, (B, *op.shape_in).

    Args:
        replicas: the networks, one for each y.
        z: inputs, (B, channels, h, w) real.
        renew: next z from the present output, both (B, channels, H, W) real, in units of the brightness s, and its
            number, from 1.
        mask: parameters that may differ from 0, by name, (*shape) or (B, *shape) bool; the others stay 0 exactly.

    A fit that goes on from its checkpoint first tells the callback its curves so far, with the image it has now.
    """
    run = Run(problem, replicas, z, settings, stop, noise, mask)
    checkpoint = Checkpoint(settings.checkpoint, run.identity() if settings.checkpoint else {})
    content = checkpoint.read()
    if content is not None:
        run.resume(content)
    elif settings.warm is not None:
        run.begin_with(settings.warm)
    for i, (misfit, score) in enumerate(run.curves):
        callback(i, settings.iterations, x=run.shown, misfit=misfit, score=score)
    while not run.over:
        i = len(run.curves)
        if renew is not None and settings.every and i and i % settings.every == 0:
            run.z = renew(run.output.detach(), i // settings.every)
        misfit, score = run.iterate()
        callback(i, settings.iterations, x=run.shown, misfit=misfit, score=score)
        run.update()
        checkpoint.write(run.content, last=run.over)
    return stop.chosen


def fixed_noise(y: Tensor, noise: Noise, channels: int, size: tuple[int, int]) -> Tensor:
    """z uniform in (0, 0.1), (B, channels, *size): the input of networks that make an image from nothing."""
    blank = torch.zeros((len(y), channels, *size), dtype=y.dtype.to_real(), device=y.device)
    return 0.1 * torch.special.ndtr(noise.like(blank))


def not_planar(op: Operator) -> str | None:
    """Why the networks here cannot make the images behind an operator."""
    if len(op.shape_in) == 3 and min(op.shape_in[1:]) >= SMALLEST:
        return None
    return f"its networks make (C, H, W) of {SMALLEST} pixels a side or more, not {op.shape_in}. Use tv or cg."
