"""x_{k+1} = prox(v - (A^H A v - A^H y) / L),   v = x_k + beta_k (x_k - x_{k-1}): accelerated proximal gradients.

They minimise |A x - y|^2 / 2 + R(x) for a regulariser R of which the proximal map is known, L >= |A|^2.

Source: Beck and Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems, 2009, FISTA
with constant step; O'Donoghue and Candes, Adaptive Restart for Accelerated Gradient Schemes, 2015, equation 12.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.shapes import dot, norm, over
from invdiff.solvers.method import Callback, operator_norm

SAFETY = 1.05  # power iteration approaches |A|^2 from below


def step_bound(op: LinearOperator) -> float:
    """L >= |A|^2, as a number."""
    return SAFETY * operator_norm(op) ** 2


def fista(
    y: Tensor,
    op: LinearOperator,
    prox: Callable[[Tensor, int], Tensor],
    x: Tensor,
    *,
    iterations: int,
    callback: Callback,
    offset: Tensor | None = None,
) -> Tensor:
    """The last iterate, (B, *op.shape_in).

    Acceleration restarts, for the samples concerned, where the step turns against the momentum. One A^H A per
    iteration: that of v follows from those of x. The misfit comes from the same products, |A x - y|^2 =
    <x, A^H A x - 2 A^H y> + |y|^2, which rounding limits to about 1e-3 |y| in single precision.

    Args:
        prox: (v, i) -> argmin_x L |x - v|^2 / 2 + R(x) in iteration i.
        x: start, (B, *op.shape_in).
    """
    lipschitz, b, energy = step_bound(op), op.adjoint(y), norm(y) ** 2
    nx = op.normal(x)
    v, nv, t = x, nx, torch.ones_like(energy)
    for i in range(iterations):
        new = prox(v - (nv - b) / lipschitz, i)
        n_new = op.normal(new)
        t = torch.where(dot(v - new, new - x).real > 0, 1.0, t)
        t_next = (1 + torch.sqrt(1 + 4 * t**2)) / 2
        beta = over((t - 1) / t_next, x)
        v, nv = new + beta * (new - x), n_new + beta * (n_new - nx)
        x, nx, t = new, n_new, t_next
        misfit = (energy + dot(x, nx - 2 * b).real).clamp(min=0).sqrt()
        callback(i, iterations, x=x, misfit=misfit)
    return x
