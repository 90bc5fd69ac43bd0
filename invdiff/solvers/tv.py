"""x = argmin |A x - y|^2 / 2 + lam TV(x),   TV(x) = sum over pixels of |grad x|: total variation, by FISTA.

|grad x| is the Euclidean norm over all directions, all channels and both components of complex values (isotropic, and
edges shared by the channels). The proximal map of TV is found by accelerated projected gradients on its dual,

    u <- P(w + G (v - G^H w) / |G|^2),   x = v - G^H u,   P: |u| <= s in every pixel,

which start where the iteration before has left them.

Source: Beck and Teboulle, Fast Gradient-Based Algorithms for Constrained Total Variation Image Denoising and
Deblurring Problems, 2009, sections 4 and 5; Rudin, Osher and Fatemi, Nonlinear Total Variation Based Noise Removal
Algorithms, 1992.
Differs: no constraint on x; the dual is kept between iterations; the weight decreases to lam in the first iterations.
"""

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import LinearOperator
from invdiff.operators.gradient import Gradient
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import over
from invdiff.solvers.fista import LeastSquares, fista, visible, weights
from invdiff.solvers.method import Callback

REFERENCE = """@article{beck2009fast,
  title = {Fast Gradient-Based Algorithms for Constrained Total Variation Image Denoising and Deblurring Problems},
  author = {Beck, Amir and Teboulle, Marc},
  journal = {IEEE Transactions on Image Processing},
  volume = {18},
  number = {11},
  pages = {2419--2434},
  year = {2009}
}"""

FACTOR = 0.8  # lam over the standard deviation of the noise in a pixel of A^H y


def tv(
    y: Tensor,
    op: LinearOperator,
    prior: Prior | None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    weight: float | str = "auto",
    iterations: int = 100,
    inner: int = 10,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out); returns (B, *op.shape_in), real or complex.

    Pixels that no measurement sees are free while it runs, so that their border is no edge, and 0 in the result.

    Args:
        sigma_y: (B,) noise standard deviation per real component, for the weight "auto".
        weight: lam as a share of max |A^H y|. "auto" takes 0.8 standard deviations of the noise in a pixel of A^H y
            (at least 0.03 % of max |A^H y|), and 0.5 % of max |A^H y| where sigma_y is unknown.
        iterations: each with one A^H A.
        inner: steps on the dual per iteration.

    Raises:
        ValueError: an option is out of its range.
    """
    require("iterations", iterations, at_least=1)
    require("inner", inner, at_least=1)
    gradient = Gradient(op.shape_in)
    data = LeastSquares.of(y, op)
    lam = weights(weight, FACTOR, data.b, op, sigma_y)
    dual = gradient(torch.zeros_like(data.b))

    def prox(v: Tensor, i: int) -> Tensor:
        nonlocal dual
        x, dual = denoise(v, lam(i) / data.lipschitz, dual, gradient, inner)
        return x

    def report(i: int, x: Tensor, misfit: Tensor) -> None:
        callback(i, iterations, x=visible(x, op), misfit=misfit)

    return visible(fista(data, prox, report, iterations), op)


def denoise(v: Tensor, s: Tensor, dual: Tensor, gradient: Gradient, iterations: int) -> tuple[Tensor, Tensor]:
    """argmin |x - v|^2 / 2 + s TV(x), (B, C, *N), and its dual, (B, C, d, *N), started from `dual`; s is (B,)."""
    bound, w, t = over(s, dual), dual, 1.0
    step = 1 / gradient.norm() ** 2 if gradient.norm() else 0.0
    tiny = torch.finfo(s.dtype).tiny
    for _ in range(iterations):
        new = w + step * gradient(v - gradient.adjoint(w))
        size = torch.linalg.vector_norm(new, dim=(1, 2), keepdim=True)
        new = new * (bound / torch.maximum(size, bound).clamp(min=tiny))
        t_next = (1 + (1 + 4 * t**2) ** 0.5) / 2
        w, dual, t = new + (t - 1) / t_next * (new - dual), new, t_next
    return v - gradient.adjoint(dual), dual
