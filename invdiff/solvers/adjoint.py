"""x = s A^H y,   s = |A^H y|^2 / |A A^H y|^2: the adjoint image, scaled to fit the data.

For Cartesian MRI this is the zero-filled, coil-combined image; for CT it is the unfiltered back-projection.

Source: Roemer et al., The NMR Phased Array, 1990, equation 33, for the combination of coils.
"""

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import norm, over
from invdiff.solvers.method import Callback

REFERENCE = """@article{roemer1990phased,
  title = {The {NMR} Phased Array},
  author = {Roemer, Peter B. and Edelstein, William A. and Hayes, Cecil E. and Souza, Steven P. and Mueller, Otward M.},
  journal = {Magnetic Resonance in Medicine},
  volume = {16},
  pages = {192--225},
  year = {1990}
}"""


def adjoint(
    y: Tensor,
    op: LinearOperator,
    prior: Prior | None = None,
    *,
    noise: Noise,
    callback: Callback,
    scaled: bool = True,
) -> Tensor:
    """The adjoint image of y (B, *op.shape_out); returns (B, *op.shape_in).

    Args:
        scaled: multiply by the number s of each sample that fits the data best, so that intensities compare with those
            of the other methods whatever the norm of A. It is 1 where A A^H is a projection (single-coil MRI). False
            returns A^H y itself, in the operator's units.
    """
    x = op.adjoint(y)
    ax = op(x)
    if scaled:
        s = fit(x, ax)
        x, ax = over(s, x) * x, over(s, ax) * ax
    callback(0, 1, x=x, misfit=norm(ax - y))
    return x


def fit(x: Tensor, ax: Tensor) -> Tensor:
    """s = argmin |s A x - y|, (B,), for x = A^H y and ax = A x; 0 where A x is 0."""
    power = norm(ax) ** 2
    return torch.where(power > 0, norm(x) ** 2 / power, 0.0)
