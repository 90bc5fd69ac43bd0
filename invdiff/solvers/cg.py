"""x = argmin |A x - y|^2 + rho |x|^2, by conjugate gradients from zero: least squares, Tikhonov, CG-SENSE.

Source: Pruessmann, Weiger, Boernert and Boesiger, Advances in Sensitivity Encoding with Arbitrary k-Space
Trajectories, 2001; Hanke, Conjugate Gradient Type Methods for Ill-Posed Problems, 1995, for the discrepancy stop.
Differs: no intensity or density correction; the weight comes from the noise, where the paper relies on early stopping.
"""

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import LinearOperator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import dot, norm, over, real_size
from invdiff.solvers.adjoint import fit
from invdiff.solvers.method import Callback, operator_norm

REFERENCE = """@article{pruessmann2001advances,
  title = {Advances in Sensitivity Encoding with Arbitrary k-Space Trajectories},
  author = {Pruessmann, Klaas P. and Weiger, Markus and B{\\"o}rnert, Peter and Boesiger, Peter},
  journal = {Magnetic Resonance in Medicine},
  volume = {46},
  number = {4},
  pages = {638--651},
  year = {2001}
}"""

NOISE_SHARE = 4.0  # of sigma_y^2 over the power of a pixel: images have most of theirs at low frequencies
LARGEST = 0.1  # of |A|^2: beyond it the weight mostly makes images darker
UNKNOWN_NOISE = 0.01  # of |A|^2


def cg(
    y: Tensor,
    op: LinearOperator,
    prior: Prior | None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    weight: float | str = "auto",
    iterations: int = 30,
    tol: float = 1e-4,
    stop: float = 0.0,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out); returns (B, *op.shape_in), real or complex.

    The reported misfit comes from the recursion at no operator call,

        |A x - y|^2 = |y|^2 - <x, A^H y + r> - rho |x|^2,   r the residual of the normal equations;

    rounding limits it to about 1e-3 |y| in single precision.

    Args:
        sigma_y: (B,) noise standard deviation per real component, for the weight "auto" and for `stop`.
        weight: rho in units of |A|^2. "auto" takes four times the ratio of the powers of noise and image, the latter
            read from the scaled adjoint image, 0.1 at most, and 0.01 where sigma_y is unknown.
        iterations: at most this many, each with one A^H A.
        tol: a sample ends once its residual of the normal equations is below tol |A^H y|,
        stop: or, where this is not 0, once |A x - y| <= stop sigma_y sqrt(m), m its number of real measurements. That
            is the classical remedy for weight = 0, where later iterations fit noise; the weight "auto" does better.

    Raises:
        ValueError: an option is out of its range, or `stop` is set and sigma_y unknown.
    """
    require("iterations", iterations, at_least=1)
    require("tol", tol, at_least=0)
    require("stop", stop, at_least=0)
    if stop and sigma_y is None:
        raise ValueError(f"stop={stop:g} compares the misfit with the noise: pass sigma_y=..., or stop=0.")
    b = op.adjoint(y)
    rho = _ridge(weight, b, op, sigma_y)
    x, r, p = torch.zeros_like(b), b, b
    rs, energy = norm(b) ** 2, norm(y) ** 2
    floor = tol**2 * rs
    target = torch.zeros_like(energy) if sigma_y is None else (stop * sigma_y) ** 2 * op.measured(y.is_complex())
    active = (rs > floor) & (energy > target)
    for i in range(iterations):
        q = op.normal(p) + over(rho, p) * p
        curvature = dot(p, q).real
        alpha = over(torch.where(active & (curvature > 0), rs / curvature, 0.0), x)
        x, r = x + alpha * p, r - alpha * q
        rs_new = norm(r) ** 2
        p = r + over(torch.where(active & (rs > 0), rs_new / rs, 0.0), p) * p
        rs = torch.where(active, rs_new, rs)
        misfit = (energy - dot(x, b + r).real - rho * norm(x) ** 2).clamp(min=0)
        callback(i, iterations, x=x, misfit=misfit.sqrt())
        active = active & (rs > floor) & ((misfit > target) | (target == 0))
        if not bool(active.any()):
            break
    return x


def _ridge(weight: float | str, b: Tensor, op: LinearOperator, sigma_y: Tensor | None) -> Tensor:
    """rho, (B,)."""
    unit = torch.full((len(b),), operator_norm(op) ** 2, dtype=b.dtype.to_real(), device=b.device)
    if isinstance(weight, str) and weight == "auto":
        if sigma_y is None:
            return UNKNOWN_NOISE * unit
        seen = (
            1.0 if op.support is None else op.support.expand(len(b), *op.shape_in).flatten(1).double().mean(1).to(unit)
        )
        power = (fit(b, op(b)) * norm(b)) ** 2 / (seen * real_size(op.shape_in, b.is_complex()))
        rho = NOISE_SHARE * sigma_y**2 / power.clamp(min=torch.finfo(power.dtype).tiny)
        return torch.minimum(rho, LARGEST * unit)
    if isinstance(weight, str) or not weight >= 0:
        raise ValueError(f'weight must be "auto" or at least 0 (in units of |A|^2), got {weight!r}.')
    return weight * unit
