"""y = x."""

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.svd import SVD


class Identity(LinearOperator):
    """The image itself is measured: denoising. Real or complex, (B, *shape) to (B, *shape).

    Example:
        >>> import torch
        >>> op = Identity((1, 4, 5))
        >>> op(torch.ones(2, 1, 4, 5)).shape
        torch.Size([2, 1, 4, 5])
    """

    pointwise = True
    family = ""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()  # a result that may be changed without changing x

    def _adjoint(self, y: Tensor) -> Tensor:
        return y.clone()

    def normal(self, x: Tensor) -> Tensor:
        return x.clone()

    def norm(self) -> float:
        return 1.0

    def pinv(self, y: Tensor, iterations: int = 50) -> Tensor:
        return y.clone()

    def _closed_prox(self, z: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        """(y + rho z) / (1 + rho)."""
        return (y + rho * z) / (1 + rho)

    def svd(self, is_complex: bool) -> SVD:
        """All singular values are 1."""
        return SVD(torch.ones(1, *self.shape_in, device=self.device), Tensor.clone, Tensor.clone, Tensor.clone)
