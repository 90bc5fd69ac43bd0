"""|r(x)|^2 / 2 = -log Poisson(c; x) + const: counts c whose likelihood is a squared norm, exactly.

r is the signed root of the deviance, r = sign(x - c) sqrt(2 (x - c + c log(c / x))), 0 where x = c. So every method
that minimises |A x - y|^2 / (2 sigma_y^2), or draws from it, uses the likelihood of Poisson counts c behind an operator
A of expected counts when it is given `PoissonDeviance(c) @ A`, the measurement 0 and sigma_y = 1:

    op = PoissonDeviance(counts) @ Transmission(projector, photons)
    result = invdiff.solve(torch.zeros_like(counts), op, prior, "daps", sigma_y=1.0)

`Anscombe` and a Gaussian of variance max(c, 1) (`weighted`) are approximations for many counts.

Source: McCullagh and Nelder, Generalized Linear Models, 1989, section 2.4.3 (deviance residuals).
Differs: below a thousandth of a count, where there is no Poisson law of a negative mean, r goes on as a line.
"""

import torch
from torch import Tensor

from invdiff.operators.base import Operator

LEAST = 1e-3  # expected counts below which r is a line
NEAR = 0.05  # of x from c, relative: the series is used within, whose next term is 2e-9


class PoissonDeviance(Operator):
    """r as an operator on expected counts (B, *shape), to put behind one whose output they are.

    Args:
        counts: c, (B, *shape) real, 0 or more; the operator then holds B items. Counts that are no whole numbers, such
            as scaled ones, have a deviance too, but no Poisson law.

    Raises:
        TypeError: counts that are not real floating point.
        ValueError: negative or non-finite counts.

    Example:
        >>> PoissonDeviance(torch.tensor([[0.0, 4.0]]))(torch.tensor([[8.0, 4.0]])).tolist()
        [[4.0, 0.0]]
    """

    pointwise = True
    counts: Tensor

    def __init__(self, counts: Tensor) -> None:
        if not counts.is_floating_point():
            raise TypeError(f"counts must be real floating point, got {counts.dtype}. Use counts.float().")
        if not bool((counts >= 0).all() and counts.isfinite().all()):
            raise ValueError("counts must be finite and 0 or more; take out what the detector adds to them first.")
        shape = tuple(counts.shape[1:])
        super().__init__(shape, shape, complex_in=False)
        self.batch = len(counts)
        self.register_buffer("counts", counts, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        expected = x.clamp(min=LEAST)
        below = (x - expected) / (2 * LEAST) ** 0.5  # with the slope of r at LEAST for c = 0
        return _signed_root(expected, self.counts) + below


def _signed_root(x: Tensor, c: Tensor) -> Tensor:
    """sqrt(c) u sqrt(2 (u - log(1 + u)) / u^2), u = x / c - 1, each case with finite gradients where it is not used."""
    some = c > 0
    u = x / torch.where(some, c, 1.0) - 1
    near = u.abs() < NEAR
    t = torch.where(near, u, 0.0)
    series = t * (1 + t * (-2 / 3 + t * (1 / 2 + t * (-2 / 5 + t * (1 / 3 - t * 2 / 7))))).sqrt()
    far = torch.where(near, 1.0, u)
    root = far.sign() * (2 * (far - torch.log1p(far))).sqrt()
    return torch.where(some, c.sqrt() * torch.where(near, series, root), (2 * x).sqrt())
