"""p(x) = sum_k w_k N(x; mu_k, U_k diag(lambda_k) U_k^H + s_k (I - U_k U_k^H)) on vectors.

With z = U_k^H (x - mu_k), every quantity follows from |x - mu_k|^2 and the r numbers z: no d x d matrix is formed.
"""

import math

import torch
from torch import Tensor

from invdiff.module import Movable
from invdiff.priors.covariance import check_orthonormal, check_variances


class LowRankMixture(Movable):
    """A mixture of K low-rank Gaussians on vectors of length d.

    Args:
        weights: (K,), positive, summing to 1.
        means: (K, d). bases: (K, r, d), rows orthonormal. variances: (K, r). floors: (K,), the variance outside the
            basis. Variances are per real component; complex vectors are circular about their mean. Real means and bases
            serve complex vectors as well.

    Raises:
        ValueError: shapes that do not match, negative weights or variances, bases that are not orthonormal.
    """

    weights: Tensor
    means: Tensor
    bases: Tensor
    variances: Tensor
    floors: Tensor
    offsets: Tensor
    mean_squares: Tensor

    def __init__(self, weights: Tensor, means: Tensor, bases: Tensor, variances: Tensor, floors: Tensor) -> None:
        super().__init__()
        shapes = [tuple(t.shape) for t in (weights, means, bases, variances, floors)]
        if bases.ndim != 3 or shapes != _wanted(*bases.shape):
            raise ValueError(
                f"weights, means, bases, variances, floors must be (K,), (K, d), (K, r, d), (K, r), (K,), got {shapes}."
            )
        if not bool((weights >= 0).all()) or abs(float(weights.sum()) - 1) > 1e-5:
            raise ValueError(f"weights must be 0 or more and sum to 1, they sum to {float(weights.sum()):.6g}.")
        check_variances(variances, floors)
        check_orthonormal(bases)
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("bases", bases)
        self.register_buffer("variances", variances)
        self.register_buffer("floors", floors)
        self.register_buffer("offsets", torch.einsum("krd,kd->kr", bases.conj(), means.to(bases.dtype)))
        self.register_buffer("mean_squares", means.abs().square().sum(1))

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        """E[x0 | x0 + level n = x], (N, d), for level (N,) or (1,)."""
        z = self._project(x) - self.offsets
        w = self._log_joint(x, z, level).softmax(1)
        return self._blend(w, x, z, level)

    def vjp(self, x: Tensor, level: Tensor, v: Tensor) -> Tensor:
        """J v = sum_k w_k G_k v + sum_k w_k (D_k - D) Re<D_k - D, v> / level^2, (N, d).

        The second term, from the change of the responsibilities, is a blend of the D_k with weights that sum to 0.
        """
        z = self._project(x) - self.offsets
        w = self._log_joint(x, z, level).softmax(1)
        zv = self._project(v)
        inner = self._inner(x, z, v, zv, level)
        pull = w * (inner - (w * inner).sum(1, keepdim=True)) / level[:, None] ** 2
        return self._blend(w, v, zv, level, about_means=False) + self._blend(pull, x, z, level)

    def log_joint(self, x: Tensor, level: Tensor) -> Tensor:
        """log w_k + log N(x; mu_k, C_k + level^2 I), (N, K); a density over real and imaginary parts."""
        return self._log_joint(x, self._project(x) - self.offsets, level)

    def _project(self, v: Tensor) -> Tensor:
        """U_k^H v, (N, K, r)."""
        count, rank, size = self.bases.shape
        return _product(v, self.bases.reshape(count * rank, size).mH).reshape(len(v), count, rank)

    def _log_joint(self, x: Tensor, z: Tensor, level: Tensor) -> Tensor:
        rank, size = self.bases.shape[1:]
        inside = self.variances + level[:, None, None] ** 2
        outside = self.floors + level[:, None] ** 2
        distance = x.abs().square().sum(1, keepdim=True) - 2 * _product(x, self.means.mH).real + self.mean_squares
        square = distance / outside + ((1 / inside - 1 / outside[:, :, None]) * _square(z)).sum(2)
        log_det = (2 * math.pi * inside).log().sum(2) + (size - rank) * (2 * math.pi * outside).log()
        return self.weights.log() - 0.5 * (square + (2 if x.is_complex() else 1) * log_det)

    def _gains(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """lambda / (lambda + level^2) in the basis, less the same outside it, and outside it: (N, K, r), (N, K)."""
        outside = self.floors / (self.floors + level[:, None] ** 2)
        return self.variances / (self.variances + level[:, None, None] ** 2) - outside[:, :, None], outside

    def _blend(self, w: Tensor, x: Tensor, z: Tensor, level: Tensor, about_means: bool = True) -> Tensor:
        """sum_k w_k D_k, D_k = mu_k + G_k (x - mu_k) and z = U_k^H (x - mu_k); G_k alone without the means."""
        extra, outside = self._gains(level)
        inside = (w[:, :, None] * extra * z).flatten(1)
        out = (w * outside).sum(1, keepdim=True) * x + _product(inside, self.bases.flatten(0, 1))
        if about_means:
            out = out + (w * (1 - outside)).to(self.means.dtype) @ self.means
        return out

    def _inner(self, x: Tensor, z: Tensor, v: Tensor, zv: Tensor, level: Tensor) -> Tensor:
        """Re<D_k, v>, (N, K)."""
        extra, outside = self._gains(level)
        along = (extra * (z.conj() * zv).real).sum(2)
        return (
            (1 - outside) * _product(v, self.means.mH).real + outside * (x.conj() * v).real.sum(1, keepdim=True) + along
        )


def _wanted(count: int, rank: int, size: int) -> list[tuple[int, ...]]:
    return [(count,), (count, size), (count, rank, size), (count, rank), (count,)]


def _square(z: Tensor) -> Tensor:
    """|z|^2; `abs` has no gradient at 0."""
    return (z.conj() * z).real


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b, also for a complex a and a real b."""
    if a.is_complex() and not b.is_complex():
        return torch.complex(a.real @ b, a.imag @ b)
    return a @ b
