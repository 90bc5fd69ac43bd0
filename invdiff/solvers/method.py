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
    misfit: |A x0 - y| per sample, (B,), where the solver has it.
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
    ) -> None: ...


@dataclass(frozen=True)
class Method:
    """A solver and what it needs.

    function: `(y, op, prior, *, noise, callback, [sigma_y,] options...) -> x`, all in the prior's units; it takes
        sigma_y, (B,), only if it uses it.
    prior: whether it needs one. linear: whether the operator must be linear. sampler: whether repeated runs are draws
        meant to spread like the posterior. gradient: whether it differentiates through the prior.
    """

    function: Callable[..., Tensor]
    summary: str
    prior: bool = True
    linear: bool = False
    sampler: bool = False
    gradient: bool = False
    reference: str = ""


def start(y: Tensor, op: Operator, prior: Prior, noise: Noise, sigma: float) -> Tensor:
    """sigma n + centre of the prior's range: what an image at the highest noise level looks like, (B, *shape_in)."""
    dtype = y.dtype.to_complex() if prior.complex else y.dtype.to_real()
    blank = torch.zeros((len(y), *op.shape_in), dtype=dtype, device=y.device)
    return blank + sum(prior.range) / 2 + sigma * noise.like(blank)


def depart(
    y: Tensor, op: Operator, prior: Prior, noise: Noise, sigmas: Sequence[float], teleport: bool
) -> tuple[Tensor, list[float]]:
    """`start` at the first of the noise levels, and the levels to walk through, (B, *op.shape_in) and decreasing.

    teleport: pass the levels at which the prior knows its probability flow in closed form (none, for most priors).
    """
    x = start(y, op, prior, noise, sigmas[0])
    return passed(prior, x, sigmas) if teleport else (x, list(sigmas))


def operator_norm(op: Operator) -> float:
    """|A| of a linear operator, 1 for a non-linear one (whose scale is its own affair), never 0."""
    return (op.norm() if isinstance(op, LinearOperator) else 1.0) or 1.0
