"""y = x + 0i,   A^H y = Re y: a real image seen as complex."""

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.svd import SVD


class RealIsometry(LinearOperator):
    """Real images (B, *shape) to complex ones of the same size, with A^H A = 1; subclasses give A and its adjoint."""

    pointwise = real_linear = True
    family = ""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, shape, complex_in=False, complex_out=True)

    def normal(self, x: Tensor) -> Tensor:
        return x.clone()

    def norm(self) -> float:
        return 1.0

    def pinv(self, y: Tensor, iterations: int = 50) -> Tensor:
        return self.adjoint(y)

    def _closed_prox(self, z: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        """(A^H y + rho z) / (1 + rho)."""
        return (self._adjoint(y) + rho * z) / (1 + rho)

    def svd(self, is_complex: bool) -> SVD:
        """All singular values are 1; the rest of y lies outside the range."""
        return SVD(torch.ones(1, *self.shape_in, device=self.device), Tensor.clone, Tensor.clone, self._adjoint)


class RealToComplex(RealIsometry):
    """Real images (B, *shape) as complex ones, so that a real prior can stand before a complex transform.

    Linear over the reals only: <A x, y> = <x, A^H y> holds for Re <., .>.

    Example:
        >>> op = RealToComplex((1, 4, 5))
        >>> op(torch.ones(1, 1, 4, 5)).dtype
        torch.complex64
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.complex(x, torch.zeros_like(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return y.real.clone()  # without the imaginary half kept alive
