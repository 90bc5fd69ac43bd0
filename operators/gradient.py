"""(G x)[c, a, n] = x[c, n + e_a] - x[c, n] along every axis a;   0 past the border.

Forward differences with Neumann borders; the adjoint is minus the discrete divergence.
"""

import math
from functools import reduce

import torch
from torch import Tensor
from torch.nn.functional import pad

from invdiff.operators.base import LinearOperator
from invdiff.shapes import Shape


class Gradient(LinearOperator):
    """Differences along the d axes of an image: (B, C, *N) to (B, C, d, *N), real or complex.

    The differences that would reach over the border are 0, so constants have no gradient and no border shows.

    Args:
        shape: (C, H, W) or (C, D, H, W).
        is_complex: what x is; None takes both.

    Raises:
        ValueError: shape is neither.
    """

    def __init__(self, shape: Shape, is_complex: bool | None = None) -> None:
        if len(shape) not in (3, 4):
            raise ValueError(f"Gradient takes an image shape (C, H, W) or (C, D, H, W), got {tuple(shape)}.")
        channels, *sizes = shape
        super().__init__(shape, (channels, len(sizes), *sizes), is_complex, is_complex)
        self.axes = range(-len(sizes), 0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([pad(x.diff(dim=axis), _ends(axis, 0, 1)) for axis in self.axes], dim=2)

    def _adjoint(self, y: Tensor) -> Tensor:
        inner = (y.select(2, i).narrow(axis, 0, y.shape[axis] - 1) for i, axis in enumerate(self.axes))
        terms = (pad(part, _ends(axis, 1, 1)).diff(dim=axis) for part, axis in zip(inner, self.axes, strict=True))
        return -reduce(torch.add, terms)

    def norm(self) -> float:
        """|G| = 2 sqrt(sum over axes of cos^2(pi / 2N)) < 2 sqrt(d), from the cosine eigenvectors of G^H G."""
        return 2 * math.hypot(*(math.cos(math.pi / (2 * n)) for n in self.shape_in[1:]))


def _ends(axis: int, before: int, after: int) -> list[int]:
    """`pad`'s argument for one axis, counted from the last."""
    return [0, 0] * (-axis - 1) + [before, after]
