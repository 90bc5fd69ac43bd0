"""y = 2 sqrt(max(x, 0) + 3/8): counts whose noise does not depend on them.

A Poisson count of mean x has standard deviation sqrt(x); its transform has 1, within 1 % from a mean of 3 on. So the
likelihood of counts c behind A is, to that accuracy, that of `Anscombe(shape) @ A` with the measurement `anscombe(c)`
and sigma_y = 1, for every method that takes an operator that is not linear.

Source: Anscombe, The Transformation of Poisson, Binomial and Negative-Binomial Data, Biometrika 1948.
"""

import torch
from torch import Tensor

from invdiff.operators.base import Operator
from invdiff.shapes import Shape

SHIFT = 3 / 8


def anscombe(counts: Tensor) -> Tensor:
    """2 sqrt(max(counts, 0) + 3/8), of the same shape; the gradient is 0 below 0."""
    return 2 * torch.sqrt(counts.clamp(min=0) + SHIFT)


class Anscombe(Operator):
    """`anscombe` as an operator on real (B, *shape), to put behind one whose output are expected counts.

    Its derivative, 1 / sqrt(x + 3/8), is largest without light.

    Example:
        >>> Anscombe((2,))(torch.tensor([[0.625, 3.625]])).tolist()
        [[2.0, 4.0]]
    """

    pointwise = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, shape, complex_in=False)

    def forward(self, x: Tensor) -> Tensor:
        return anscombe(x)
