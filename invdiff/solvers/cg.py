"""x = argmin |A x - y|^2 + weight |A|^2 |x|^2, by conjugate gradients stopped early (CG-SENSE).

Source: Pruessmann, Weiger, Boernert and Boesiger, Advances in Sensitivity Encoding with Arbitrary k-Space
Trajectories, 2001; Hanke, Conjugate Gradient Type Methods for Ill-Posed Problems, 1995, for the discrepancy stop.
Differs: no intensity or density preconditioning; each sample stops by its own residual.
"""

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import LinearOperator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import dot, norm, over
from invdiff.solvers.method import Callback, operator_norm

REFERENCE = """@article{pruessmann2001cgsense,
  title = {Advances in Sensitivity Encoding with Arbitrary k-Space Trajectories},
  author = {Pruessmann, Klaas P. and Weiger, Markus and B{\\"o}rnert, Peter and Boesiger, Peter},
  journal = {Magnetic Resonance in Medicine},
  volume = {46},
  number = {4},
  pages = {638--651},
  year = {2001}
}"""


def cg(
    y: Tensor,
    op: LinearOperator,
    prior: Prior | None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    weight: float = 0.0,
    iterations: int = 30,
    tol: float = 1e-4,
    stop: float = 1.0,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out); returns (B, *op.shape_in).

    The misfit comes from the recursion, |A x - y|^2 = |y|^2 - <x, A^H y + r> - weight |A|^2 |x|^2 with r the residual
    of the normal equations, at no operator call; rounding limits it to about 1e-3 |y| in single precision.

    Args:
        sigma_y: (B,) noise standard deviation per real component; without it only `tol` stops early.
        weight: Tikhonov weight, in units of |A|^2.
        iterations: at most this many, each with one A^H A.
        tol: a sample ends once its residual of the normal equations is below tol |A^H y|,
        stop: or once |A x - y| <= stop sigma_y sqrt(m), m its number of real measurements: later iterations fit noise.
            0 switches this off.
    """
    require("weight", weight, at_least=0)
    require("iterations", iterations, at_least=1)
    require("tol", tol, at_least=0)
    require("stop", stop, at_least=0)
    ridge = weight * operator_norm(op) ** 2 if weight else 0.0
    b = op.adjoint(y)
    x, r, p = torch.zeros_like(b), b, b
    rs, energy = norm(b) ** 2, norm(y) ** 2
    floor = rs * tol**2
    noise_energy = torch.zeros_like(energy) if sigma_y is None else (stop * sigma_y) ** 2 * measurements(y, op)
    active = (rs > floor) & (energy > noise_energy)
    for i in range(iterations):
        q = op.normal(p) + ridge * p
        curvature = dot(p, q).real
        alpha = torch.where(active & (curvature > 0), rs / curvature, 0.0)
        x, r = x + over(alpha, x) * p, r - over(alpha, r) * q
        new = norm(r) ** 2
        p = torch.where(over(active, r), r + over(new / rs.clamp(min=torch.finfo(rs.dtype).tiny), r) * p, p)
        rs = torch.where(active, new, rs)
        misfit = (energy - dot(x, b + r).real - ridge * norm(x) ** 2).clamp(min=0)
        callback(i, iterations, x=x, misfit=misfit.sqrt())
        active = active & (rs > floor) & (misfit > noise_energy)
        if not bool(active.any()):
            break
    return x


def measurements(y: Tensor, op: LinearOperator) -> Tensor:
    """Number of real values measured in each item of y, (B,), entries that are not sampled left out."""
    sampled = torch.ones(1, dtype=torch.bool, device=y.device) if op.sampled is None else op.sampled
    count = sampled.expand(len(y), *op.shape_out).flatten(1).sum(1)
    return count.to(y.dtype.to_real()) * (2 if y.is_complex() else 1)
