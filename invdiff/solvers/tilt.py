"""x0 = D(x + A^H q; sigma) that agrees with the data, without a derivative of the network.

    A D(x + A^H q; sigma) + (sigma_y / sigma)^2 q = y

By Tweedie, D(x + h; sigma) is the mean of p(x0 | x) exp(<x0, h> / sigma^2): moving the network's input tilts its
distribution of clean images, and h = A^H q tilts it by the data alone. For a Gaussian p(x0) the solution is exactly
E[x0 | x, y]. The left-hand side has the Jacobian A J A^H + (sigma_y / sigma)^2 with J = Cov(x0 | x) / sigma^2, which is
positive semi-definite, so that q follows from gradient steps of the length of Barzilai and Borwein: one evaluation each
and no product with the Jacobian.

Source: Efron, Tweedie's Formula and Selection Bias, Journal of the American Statistical Association 2011, for the tilt.
"""

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.priors.prior import Prior
from invdiff.shapes import norm, over
from invdiff.solvers.barzilai_borwein import BarzilaiBorwein
from invdiff.solvers.method import operator_norm


def tilted(
    y: Tensor, op: LinearOperator, prior: Prior, x: Tensor, sigma: float, *, sigma_y: Tensor, inner: int
) -> tuple[Tensor, Tensor]:
    """The estimate, of the shape of x (B, *op.shape_in), and |A x0 - y|, (B,), after inner + 1 evaluations.

    Args:
        x: (B, *op.shape_in), a state of noise level sigma. sigma_y: (B,), per real component.
    """
    weight = (sigma_y / sigma) ** 2
    q, lengths = torch.zeros_like(y), BarzilaiBorwein(1 / (operator_norm(op) ** 2 + weight))
    x0 = prior(x, sigma)
    for _ in range(inner):
        q = q - lengths.step(op(x0) - y + over(weight, q) * q)
        x0 = prior(x + op.adjoint(q), sigma)
    return x0, norm(op(x0) - y)
