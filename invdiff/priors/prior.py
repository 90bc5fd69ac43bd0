"""The prior protocol: a denoiser D(x; sigma) = E[x0 | x0 + sigma n = x] in the variance-exploding convention."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from invdiff.shapes import Shape


@runtime_checkable
class Prior(Protocol):
    """What a solver needs to know of a prior.

    Called as `prior(x, sigma)` with x (B, C, H, W), real or complex, in the prior's units, and sigma a number or (B,),
    the standard deviation per real component; returns the posterior mean, of the shape of x, and is differentiable in x
    by autograd.

    Attributes:
        shape: (C, H, W) it is made for, or None for any size; a None inside leaves that axis free.
        range: (low, high) of the real components of clean images.
        complex: whether images are complex.
        sigma_min, sigma_max: noise levels it was made for.
        domain: a sentence on what images it knows ("" if nothing is known).
        percentile: where set, clean images are scaled so that this percentile of |x| is 1, and `solve` finds the scale
            from the data. None: images are in the units the prior was fitted in.
        window: where set, the physical values (low, high) that `range` stands for (CT: mm^-1).

    Optional: `sigma_start`, the level where draws without data begin if `sigma_max` is too low to hide an image;
    `vjp(x, sigma, v)` = J^H v with J the Jacobian of D in x, where a closed form beats autograd;
    `teleport(x, sigmas)` = (x', rest), x taken in closed form down the first of the decreasing noise levels, see the
    function `teleport`; `recognise(images)`, which raises a ValueError for rough images (B, C, H, W) that
    are unlike those it knows; `check(images)`, which reports on clean or reconstructed ones, see `Checkable`.
    """

    shape: tuple[int | None, ...] | None
    range: tuple[float, float]
    complex: bool
    sigma_min: float
    sigma_max: float
    domain: str
    percentile: float | None
    window: tuple[float, float] | None

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor: ...


Pullback = Callable[[Tensor], Tensor]


def denoise_vjp(prior: Prior, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Pullback]:
    """D(x; sigma) and the map v -> J^H v at the same point, for one pull: one forward and at most one backward.

    Uses the prior's own `denoise_vjp` or `vjp` where it has one, and autograd otherwise.
    """
    own = getattr(prior, "denoise_vjp", None)
    if own is not None:
        x0, pullback = own(x, sigma)
        return x0, pullback
    closed = getattr(prior, "vjp", None)
    if closed is not None:
        return prior(x, sigma), lambda v: closed(x, sigma, v)
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        x0 = prior(leaf, sigma)

    def pull(v: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(x0, leaf, v)
        return grad

    return x0.detach(), pull


def teleport(prior: Prior, x: Tensor, sigmas: Sequence[float]) -> tuple[Tensor, list[float]]:
    """x at the level sigmas[0], and the levels, once the prior has passed those whose ODE it can solve in closed form.

    Uses the prior's own `teleport` where it has one; of other priors nothing changes.

    Source: Wang and Vastola, arXiv 2412.09726.
    """
    own = getattr(prior, "teleport", None)
    if own is None:
        return x, list(sigmas)
    x, rest = own(x, sigmas)
    return x, rest


def per_sample(sigma: Tensor | float, x: Tensor) -> Tensor:
    """sigma as (B,) of the real dtype and device of x.

    Raises:
        ValueError: not positive, or neither a number nor one value per sample.
    """
    level = sigma if isinstance(sigma, Tensor) else torch.tensor(sigma, dtype=torch.float64)
    if level.device.type == "cpu" and not bool((level > 0).all()):  # elsewhere the look would stall the device
        raise ValueError(f"sigma must be positive, got {sigma}.")
    level = level.to(x.device, x.dtype.to_real())
    if level.ndim > 1 or (level.ndim == 1 and len(level) not in (1, len(x))):
        raise ValueError(f"sigma must be a number or one value per sample ({len(x)},), got shape {tuple(level.shape)}.")
    return level.expand(len(x))


def fits(shape: tuple[int | None, ...] | None, image: Shape) -> bool:
    """Whether an image shape (C, H, W) is one the prior takes."""
    return shape is None or (
        len(shape) == len(image) and all(a in (None, b) for a, b in zip(shape, image, strict=True))
    )
