"""x_{k+1} = prox(v - (A^H A v - A^H y) / L),   v = x_k + beta_k (x_k - x_{k-1}): accelerated proximal gradients.

They minimise |A x - y|^2 / 2 + lam R(x) for a regulariser R whose proximal map is known; L >= |A|^2.

Source: Beck and Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems, 2009, FISTA
with constant step; O'Donoghue and Candes, Adaptive Restart for Accelerated Gradient Schemes, 2015, equation 12; Hale,
Yin and Zhang, Fixed-Point Continuation for l1-Minimization, 2008, for the decreasing weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.random import streams
from invdiff.shapes import dot, norm, over
from invdiff.solvers.method import operator_norm

SAFETY = 1.05  # power iteration approaches |A|^2 from below
FLOOR = 3e-4  # of max |A^H y|: below this weight the iterations given do not fill in what was not measured
UNKNOWN_NOISE = 5e-3  # of max |A^H y|: right where the noise is about 1 % of the image's maximum
START, DECAY = 0.1, 0.9  # of max |A^H y|, and per iteration: the weights on the way to lam


@dataclass(frozen=True)
class LeastSquares:
    """f(x) = |A x - y|^2 / 2 by way of normal(x) = A^H A x, b = A^H y and energy = |y|^2, (B,); lipschitz >= |A|^2."""

    normal: Callable[[Tensor], Tensor]
    b: Tensor
    energy: Tensor
    lipschitz: float

    @classmethod
    def of(cls, y: Tensor, op: LinearOperator) -> "LeastSquares":
        return cls(op.normal, op.adjoint(y), norm(y) ** 2, SAFETY * operator_norm(op) ** 2)

    def misfit(self, x: Tensor, nx: Tensor) -> Tensor:
        """|A x - y|, (B,), from nx = A^H A x; rounding limits it to about 1e-3 |y| in single precision."""
        return (self.energy + dot(x, nx - 2 * self.b).real).clamp(min=0).sqrt()


def fista(
    f: LeastSquares,
    prox: Callable[[Tensor, int], Tensor],
    report: Callable[[int, Tensor, Tensor], None],
    iterations: int,
) -> Tensor:
    """The last iterate, (B, ...), from the start A^H y / L.

    One A^H A per iteration: that of v follows from those of x, and so does the misfit. Acceleration restarts, for the
    samples concerned, where a step turns against the momentum.

    Args:
        prox: (v, i) -> argmin_x L |x - v|^2 / 2 + lam R(x), in iteration i.
        report: receives i, x and the misfit |A x - y|, (B,).
    """
    x = f.b / f.lipschitz
    nx = f.normal(x)
    v, nv, t = x, nx, torch.ones_like(f.energy)
    for i in range(iterations):
        new = prox(v - (nv - f.b) / f.lipschitz, i)
        n_new = f.normal(new)
        t = torch.where(dot(v - new, new - x).real > 0, 1.0, t)
        t_next = (1 + torch.sqrt(1 + 4 * t**2)) / 2
        beta = over((t - 1) / t_next, x)
        v, nv = new + beta * (new - x), n_new + beta * (n_new - nx)
        x, nx, t = new, n_new, t_next
        report(i, x, f.misfit(x, nx))
    return x


def weights(
    weight: float | str, factor: float, b: Tensor, op: LinearOperator, sigma_y: Tensor | None
) -> Callable[[int], Tensor]:
    """i -> lam in iteration i, (B,): large first, so that what was not measured fills in soon, then the final one.

    The final lam is weight max |b| with b = A^H y. "auto" takes factor sigma_y |A|_F / sqrt(n), which is `factor` times
    the standard deviation of the noise in a pixel of b (n pixels), or a fixed share of max |b| without sigma_y.

    Raises:
        ValueError: weight is negative or a word other than "auto".
    """
    peak = b.abs().flatten(1).amax(1)
    if isinstance(weight, str) and weight == "auto":
        noise = UNKNOWN_NOISE * peak if sigma_y is None else factor * sigma_y * noise_gain(b, op)
        final = torch.maximum(noise, FLOOR * peak)
    elif not isinstance(weight, str) and weight >= 0:
        final = weight * peak
    else:
        raise ValueError(f'weight must be "auto" or at least 0 (a share of max |A^H y|), got {weight!r}.')
    return lambda i: torch.maximum(final, START * DECAY**i * peak)


def noise_gain(b: Tensor, op: LinearOperator) -> Tensor:
    """|A|_F / sqrt(n), (B,): the root mean square of A^H (unit white noise) over the n pixels that y can tell of.

    One random probe, the same for every sample, estimates it.
    """
    probe = visible(streams(0, 1, device=b.device)[0].like(b[:1]).expand_as(b), op)
    return norm(op(probe)) / norm(probe)


def visible(x: Tensor, op: LinearOperator) -> Tensor:
    """x with the pixels at zero that no measurement sees."""
    return x if op.support is None else x * op.support
