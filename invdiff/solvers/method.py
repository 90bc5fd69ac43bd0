"""What a solver is, and what solvers share: the start of a run and the norm of an operator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior
from invdiff.priors.prior import teleport as passed
from invdiff.random import Noise


class Callback(Protocol):
    """Called once per step by every solver: drives progress, the finite-state guard and the user's own callback.

    i: step, from 0; total: number of steps; x: state, (B, *shape_in), in the prior's units; x0: current estimate;
    misfit: |A x0 - y| per sample, (B,), where the solver has it. score: what its stop rule goes by, (B,), the least
    being the best.
    """

    def __call__(
        self,
        i: int,
        total: int,
        *,
        x: Tensor,
        x0: Tensor | None = None,
        sigma: float | None = None,
        misfit: Tensor | None = None,
        score: Tensor | None = None,
    ) -> None: ...


@dataclass(frozen=True)
class Method:
    """A solver and what it needs.

    function: `(y, op, prior, *, noise, callback, [sigma_y,] options...) -> x`, all in the prior's units; it takes
        sigma_y, (B,), only if it uses it.
    prior: whether it needs one. linear: whether the operator must be linear. sampler: whether repeated runs are draws
        meant to spread like the posterior. gradient: whether it differentiates through the prior.
    fits: of an operator of the right kind, why the method cannot work behind it, as a sentence that says what to use
        instead; None where it can.
    """

    function: Callable[..., Tensor]
    summary: str
    prior: bool = True
    linear: bool = False
    sampler: bool = False
    gradient: bool = False
    fits: Callable[[Operator], str | None] = lambda op: None
    reference: str = ""


def start(y: Tensor, op: Operator, prior: Prior, noise: Noise, sigma: float, around: Tensor | None = None) -> Tensor:
    """sigma n + centre of the prior's range: what an image at the highest noise level looks like, (B, *shape_in).

    around: an image that takes the place of the centre.
    """
    dtype = y.dtype.to_complex() if prior.complex else y.dtype.to_real()
    blank = torch.zeros((len(y), *op.shape_in), dtype=dtype, device=y.device)
    return (blank + sum(prior.range) / 2 if around is None else around) + sigma * noise.like(blank)


def depart(
    y: Tensor,
    op: Operator,
    prior: Prior,
    noise: Noise,
    sigmas: Sequence[float],
    teleport: bool,
    around: Tensor | None = None,
) -> tuple[Tensor, list[float]]:
    """`start` at the first of the noise levels, and the levels to walk through, (B, *op.shape_in) and decreasing.

    teleport: pass the levels at which the prior knows its probability flow in closed form (none, for most priors).
    """
    x = start(y, op, prior, noise, sigmas[0], around)
    return passed(prior, x, sigmas) if teleport else (x, list(sigmas))


def operator_norm(op: Operator) -> float:
    """|A|, for a non-linear operator what it says of its scale; never 0."""
    return op.norm() or 1.0


def data_weight(op: LinearOperator, sigma_y: Tensor, variance: Tensor | float) -> Tensor:
    """rho = sigma_y^2 / variance of a proximal step, (B,): noise of the data against that of the image.

    At least 1e-6 |A|^2, so that single precision still tells A^H A + rho from A^H A where sigma_y is 0.
    """
    return (sigma_y**2 / variance).clamp(min=1e-6 * operator_norm(op) ** 2)


def image_is_complex(y: Tensor, op: Operator, prior: Prior | None) -> bool:
    """As the operator says; as y where it gives what it takes; else it takes either, and the prior or y decides."""
    if op.complex_in is not None:
        return op.complex_in
    return y.is_complex() if op.complex_out is None or prior is None else prior.complex
