"""(G x)[c, 0, i, j] = x[c, i+1, j] - x[c, i, j],   (G x)[c, 1, i, j] = x[c, i, j+1] - x[c, i, j];   0 past the border.

Forward differences with Neumann borders; the adjoint is minus the discrete divergence.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from invdiff.operators.base import LinearOperator
from invdiff.shapes import Shape


class Gradient(LinearOperator):
    """Differences along the last two axes: (B, C, H, W) to (B, C, 2, H, W), real or complex.

    The differences that would reach over the border are 0, so constants have no gradient and no border shows.

    Args:
        shape: (C, H, W).
        is_complex: what x is; None takes both.

    Raises:
        ValueError: shape is not (C, H, W).
    """

    def __init__(self, shape: Shape, is_complex: bool | None = None) -> None:
        if len(shape) != 3:
            raise ValueError(f"Gradient takes an image shape (C, H, W), got {tuple(shape)}.")
        channels, height, width = shape
        super().__init__(shape, (channels, 2, height, width), is_complex, is_complex)

    def forward(self, x: Tensor) -> Tensor:
        rows = pad(x.diff(dim=-2), (0, 0, 0, 1))
        columns = pad(x.diff(dim=-1), (0, 1))
        return torch.stack((rows, columns), dim=-3)

    def _adjoint(self, y: Tensor) -> Tensor:
        rows, columns = y.unbind(-3)
        return -pad(rows[..., :-1, :], (0, 0, 1, 1)).diff(dim=-2) - pad(columns[..., :-1], (1, 1)).diff(dim=-1)

    def norm(self) -> float:
        """|G| = 2 sqrt(cos^2(pi / 2H) + cos^2(pi / 2W)) < sqrt(8), from the cosine eigenvectors of G^H G."""
        return 2 * math.hypot(*(math.cos(math.pi / (2 * n)) for n in self.shape_in[-2:]))
