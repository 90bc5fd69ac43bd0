"""Conjugate gradients and power iteration; both take callables and treat every sample of a batch on its own."""

from collections.abc import Callable

import torch
from torch import Tensor

from invdiff.shapes import dot, norm, over

Map = Callable[[Tensor], Tensor]


def cg(normal: Map, b: Tensor, x: Tensor | None = None, *, iterations: int = 100, tol: float = 1e-6) -> Tensor:
    """Solve N x = b for a Hermitian positive semi-definite N.

    Args:
        normal: x -> N x, (B, ...) to (B, ...).
        b: right-hand side, (B, ...), real or complex.
        x: start; zero if absent.
        iterations: at most this many.
        tol: stop when every sample's residual is below tol times the norm of its b. A sample that has arrived no
            longer changes, so that it does not depend on its batch. 0 runs all iterations.

    Returns:
        x, (B, ...).

    Source: Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952.
    """
    x = torch.zeros_like(b) if x is None else x
    r = b - normal(x)
    p, rs = r, dot(r, r).real
    limit = (tol * norm(b)) ** 2
    for _ in range(iterations):
        active = rs > limit
        if tol > 0 and not bool(active.any()):
            break
        q = normal(p)
        curvature = dot(p, q).real
        alpha = torch.where(active & (curvature > 0), rs / curvature, 0.0)
        x = x + over(alpha, x) * p
        r = r - over(alpha, r) * q
        rs_new = dot(r, r).real
        beta = torch.where(active & (rs > 0), rs_new / rs, 0.0)
        p = r + over(beta, p) * p
        rs = torch.where(active, rs_new, rs)
    return x


def power_iteration(normal: Map, x: Tensor, *, iterations: int = 50, tol: float = 1e-4) -> Tensor:
    """Largest eigenvalue of a Hermitian positive semi-definite map, (), from the start x (1, ...).

    Approaches from below; with the default tolerance it is low by a per cent at most on the operators here.
    """
    value = torch.zeros((), dtype=x.dtype.to_real(), device=x.device)
    x = x / over(norm(x).clamp(min=torch.finfo(value.dtype).tiny), x)
    for _ in range(iterations):
        x = normal(x)
        new = norm(x)[0]
        if float(new) == 0 or abs(float(new - value)) <= tol * float(new):
            return new
        value, x = new, x / new
    return value
