"""y = R_h x R_w^T: anti-aliased reduction by an integer factor, one small matrix per axis.

With R = U S V^T for both, A has the singular values s_i t_j, and A A^H is diagonal in the basis U_h, U_w.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from invdiff.operators.base import LinearOperator
from invdiff.operators.svd import SVD
from invdiff.shapes import Shape

Filter = Literal["bicubic", "bilinear", "box"]
_REACH = {"bicubic": 2.0, "bilinear": 1.0, "box": 0.5}  # half the support, in pixels of the small image
RCOND = 1e-5  # singular values below this part of the largest count as zero


class Downsampling(LinearOperator):
    """Reduce images (B, C, H, W), real or complex, to (B, C, H / factor, W / factor).

    Each pixel of y is a weighted mean about its centre, which lies at (i + 1/2) factor - 1/2 in pixels of x; weights
    reaching past the border are left out and the rest normalised, so constants stay constant.

    Args:
        factor: whole number of 1 or more that divides H and W.
        shape: (C, H, W) of the large image.
        filter: "bicubic" (Keys, a = -1/2), "bilinear" (triangle) or "box" (mean of factor x factor pixels), stretched
            by the factor.

    Raises:
        ValueError: a factor that is not a positive whole number or does not divide the sizes; an unknown filter.

    Example:
        >>> op = Downsampling(2, (1, 4, 6), filter="box")
        >>> op(torch.ones(1, 1, 4, 6)).shape
        torch.Size([1, 1, 2, 3])

    Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, for the bicubic weights.
    """

    family = "super-resolution"

    def __init__(self, factor: int, shape: Shape, filter: Filter = "bicubic") -> None:
        if filter not in _REACH:
            raise ValueError(f"Downsampling: filter must be 'bicubic', 'bilinear' or 'box', got {filter!r}.")
        if factor != int(factor) or factor < 1:
            raise ValueError(f"Downsampling: factor must be a whole number of 1 or more, got {factor}.")
        if len(shape) != 3 or shape[1] % factor or shape[2] % factor:
            raise ValueError(
                f"Downsampling: shape must be (C, H, W) with H and W multiples of {factor}, got {tuple(shape)}. "
                "Crop or pad the image."
            )
        channels, height, width = shape
        super().__init__(shape, (channels, height // factor, width // factor))
        for axis, n in (("rows", height), ("columns", width)):
            matrix = reduction_matrix(n, int(factor), filter)
            u, s, _ = torch.linalg.svd(matrix, full_matrices=False)
            for name, value in (("", matrix), ("_u", u), ("_s", s)):
                self.register_buffer(axis + name, value.float(), persistent=False)

    rows: Tensor
    rows_u: Tensor
    rows_s: Tensor
    columns: Tensor
    columns_u: Tensor
    columns_s: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return _sandwich(self.rows, x, self.columns.T)

    def _adjoint(self, y: Tensor) -> Tensor:
        return _sandwich(self.rows.T, y, self.columns)

    def norm(self) -> float:
        return float(self.rows_s.max() * self.columns_s.max())

    def _dual(self, r: Tensor, gain: Tensor) -> Tensor:
        """A^H g(A A^H) r, the gain given on the singular values."""
        spectral = _sandwich(self.rows_u.T, r, self.columns_u) * gain
        return self.adjoint(_sandwich(self.rows_u, spectral, self.columns_u.T))

    def _power(self) -> Tensor:
        return torch.outer(self.rows_s**2, self.columns_s**2)

    def pinv(self, y: Tensor, iterations: int = 50) -> Tensor:
        """A^H (A A^H)^+ y through the two small decompositions."""
        power = self._power()
        return self._dual(y, torch.where(power > RCOND**2 * power.max(), 1 / power, 0))

    def _closed_prox(self, z: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        """z + A^H (A A^H + rho)^-1 (y - A z), a division in the singular basis."""
        return z + self._dual(y - self(z), 1 / (self._power() + rho))

    def svd(self, is_complex: bool) -> SVD:
        """s_i t_j of the two axes; their right singular vectors are completed to bases here, once per call."""
        (u, s, v), (p, t, q) = (self._complete(matrix) for matrix in (self.rows, self.columns))
        missing = (0, len(q) - len(t), 0, len(v) - len(s))
        return SVD(
            pad(torch.outer(s, t), missing)[None, None],
            lambda x: _sandwich(v, x, q.T),
            lambda c: _sandwich(v.T, c, q),
            lambda y: pad(_sandwich(u.T, y, p), missing),
        )

    @staticmethod
    def _complete(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """U, s and square V^T, decomposed in double precision."""
        u, s, vh = torch.linalg.svd(matrix.double(), full_matrices=True)
        return u.to(matrix), s.to(matrix), vh.to(matrix)


def reduction_matrix(n: int, factor: int, filter: Filter) -> Tensor:
    """R (n / factor, n) float64 of one axis; rows sum to one."""
    centre = (torch.arange(n // factor, dtype=torch.float64) + 0.5) * factor - 0.5
    distance = (torch.arange(n) - centre[:, None]).abs() / factor
    weights = torch.where(distance < _REACH[filter], _profile(distance, filter), 0.0)
    return weights / weights.sum(1, keepdim=True)


def _profile(t: Tensor, filter: Filter) -> Tensor:
    if filter == "box":
        return torch.ones_like(t)
    if filter == "bilinear":
        return 1 - t
    near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return torch.where(t < 1, near, far)


def _sandwich(left: Tensor, x: Tensor, right: Tensor) -> Tensor:
    return left.to(x.dtype) @ x @ right.to(x.dtype)
