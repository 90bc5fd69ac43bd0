"""x <- max(x + lam C A^H R (y - A x), floor),   R = 1 / (A 1), C = 1 / (A^H 1): simultaneous iterative reconstruction.

For projectors, whose entries are not negative. The iterations minimise |R^(1/2) (A x - y)|^2 and stop early: their
number is the regularisation. With ordered subsets the views are dealt out like cards and one step uses one subset (SART
where a subset is one view), so that an iteration advances as far as that many.

Source: Gilbert, Iterative Methods for the Three-Dimensional Reconstruction of an Object from Projections, 1972; Gregor
and Benson, Computational Analysis and Improvement of SIRT, 2008; Wang and Jiang, Ordered-Subset Simultaneous Algebraic
Reconstruction Techniques, 2004.
Differs: it may stop once the misfit reaches the noise. The reported misfit is that before each step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import LinearOperator
from invdiff.operators.projector import of_views
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import norm, over
from invdiff.solvers.method import Callback

REFERENCE = """@article{gregor2008computational,
  title = {Computational Analysis and Improvement of {SIRT}},
  author = {Gregor, Jens and Benson, Thomas},
  journal = {IEEE Transactions on Medical Imaging},
  volume = {27},
  number = {7},
  pages = {918--924},
  year = {2008}
}"""

EMPTY = 1e-6  # of the largest row or column sum: rays and pixels below it are left alone


def sirt(
    y: Tensor,
    op: LinearOperator,
    prior: Prior | None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    iterations: int = 100,
    subsets: int = 1,
    relaxation: float = 1.0,
    floor: float | None = None,
    stop: float = 0.0,
) -> Tensor:
    """Reconstruct line integrals y (B, 1, view, ..., bin) from zero; returns (B, 1, ..., H, W), mm^-1.

    Args:
        sigma_y: (B,) noise standard deviation, for `stop`.
        iterations: at most this many, each with one A and one A^H for all subsets together.
        subsets: numbers of groups that the views are dealt into.
        relaxation: lam, in (0, 2].
        floor: least value of a pixel, such as 0; None for no limit.
        stop: where this is not 0, a sample ends once |A x - y| <= stop sigma_y sqrt(m), m its number of measurements.

    Raises:
        ValueError: an option is out of its range, or `stop` is set and sigma_y unknown.
    """
    require("iterations", iterations, at_least=1)
    require("subsets", subsets, at_least=1, at_most=op.shape_out[1])
    require("relaxation", relaxation, above=0, at_most=2)
    require("stop", stop, at_least=0)
    if stop and sigma_y is None:
        raise ValueError(f"stop={stop:g} compares the misfit with the noise: pass sigma_y=..., or stop=0.")
    x = y.new_zeros(len(y), *op.shape_in)
    parts = [Part.of(y, op, slice(i, None, subsets), relaxation) for i in range(subsets)]
    target = torch.zeros_like(norm(y)) if sigma_y is None else stop * sigma_y * op.measured(False).sqrt()
    active = norm(y) > target
    for i in range(iterations):
        squares = torch.zeros_like(target)
        for part in parts:
            residual = part.y - part.op(x)
            squares = squares + norm(residual) ** 2
            step = part.columns * part.op.adjoint(part.rows * residual)
            x = x + torch.where(over(active, x), step, 0.0)
            x = x if floor is None else x.clamp(min=floor)
        callback(i, iterations, x=x, misfit=squares.sqrt())
        active = active & (squares.sqrt() > target)
        if not bool(active.any()):
            break
    return x


@dataclass(frozen=True)
class Part:
    """Some of the views: their measurements and projector, R and lam C."""

    y: Tensor
    op: LinearOperator
    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, y: Tensor, op: LinearOperator, views: slice, relaxation: float) -> "Part":
        y, op = (y, op) if views.step == 1 else (y[:, :, views], of_views(op, views))
        image = y.new_ones(len(y), *op.shape_in)
        return cls(y, op, inverse(op(image)), relaxation * inverse(op.adjoint(torch.ones_like(y))))


def inverse(sums: Tensor) -> Tensor:
    """1 / sums, and 0 where nothing is crossed."""
    least = EMPTY * sums.flatten(1).amax(1).clamp(min=torch.finfo(sums.dtype).tiny)
    return torch.where(sums > over(least, sums), 1 / sums, 0.0)
