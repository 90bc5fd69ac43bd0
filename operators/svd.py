"""A = U diag(s) V^H with V unitary: what an operator gives away that knows its singular vectors."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class SVD(NamedTuple):
    """Coefficients in which A is a multiplication, U^H A x = s V^H x.

    Coefficients of images and of measurements have one shape (B, ...); where s is 0, so are those of measurements. Of
    real images they may be complex (Fourier); s is then even, so that gains made of s keep images real.

    s: singular values, 0 or more, broadcasting to the coefficients; zero for what A does not see.
    vh: V^H x, images (B, *shape_in) to coefficients. v: its inverse, V c.
    uh: U^H y, measurements (B, *shape_out) to coefficients.
    """

    s: Tensor
    vh: Callable[[Tensor], Tensor]
    v: Callable[[Tensor], Tensor]
    uh: Callable[[Tensor], Tensor]
