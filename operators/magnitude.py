"""y = |x|: the phase is lost."""

import torch
from torch import Tensor

from invdiff.operators.base import Operator
from invdiff.shapes import Shape


class Magnitude(Operator):
    """Complex (B, *shape) to its modulus, real: behind a scanner, `Magnitude(scan.shape_out) @ scan`.

    Where x is zero the modulus has no derivative; the one taken is 0, one of its subgradients, so nothing is ever
    divided by zero. `simulate` adds Gaussian noise to the modulus, which is what that of complex data (Rician) tends
    to where the signal is well above it.

    Args:
        shape: of one sample.

    Example:
        >>> Magnitude((2,))(torch.tensor([[3 + 4j, 0]])).tolist()
        [[5.0, 0.0]]
    """

    pointwise = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, shape, complex_in=True, complex_out=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.abs(x)
