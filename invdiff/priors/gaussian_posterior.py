"""N(mu + C A^H N^-1 (y - A mu), C - C A^H N^-1 A C), N = A C A^H + sigma_y^2 I: posterior for a Gaussian prior."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from invdiff.linalg import cg
from invdiff.operators.base import LinearOperator
from invdiff.priors.gaussian import GaussianPrior
from invdiff.random import Noise, streams
from invdiff.shapes import Shape, dot, norm, real_size

LARGEST = 8192
"""Real values beyond which matrices are refused: 8192^2 doubles are 0.5 GB."""
_ROWS = 128

Map = Callable[[Tensor], Tensor]


class GaussianPosterior:
    """N(mean, cov) of x0 given y; made by `exact_posterior`.

    Attributes:
        mean: (B, C, H, W).
    """

    def __init__(self, prior: GaussianPrior, op: LinearOperator, y: Tensor, sigma_y: float, dense: bool) -> None:
        self.prior = copy.deepcopy(prior).double().to(y.device)
        self.op, self.y, self.variance = op, y, sigma_y**2
        self._factor = self._factorise() if dense else None
        mu = self.prior.mean.expand(len(y), *self.prior.mean.shape[1:])
        self._residual = y - self._forward(mu)
        self.mean = mu + self._gain(self._residual)

    def cov(self, v: Tensor) -> Tensor:
        """Posterior covariance times v, (B, C, H, W), per real component."""
        prior_v = self.prior.cov(v.to(self.prior.dtype))
        return prior_v - self._gain(self._forward(prior_v))

    def sample(self, n: int, seed: int | Generator | None = 0) -> Tensor:
        """n draws for each y, (B, n, C, H, W), by perturb-and-MAP: x' + gain (y - y') with (x', y') from the model."""
        noise, _ = streams(seed, len(self.y), n, self.y.device)
        return self._sample(n, noise)

    def _sample(self, n: int, noise: Noise) -> Tensor:
        batch = len(self.y)
        x = self.prior.sample(batch * n, noise)
        error = noise.like(self.y.repeat_interleave(n, 0)) * math.sqrt(self.variance)
        x, error = x.reshape(batch, n, *x.shape[1:]), error.reshape(batch, n, *error.shape[1:])
        y = self.each(self._forward, x) + self.each(self._mask, error)
        return x + self.each(self._gain, self.y[:, None] - y)

    def std(self) -> Tensor:
        """Posterior standard deviation per pixel, (B, C, H, W), real; of complex images the rms over both components.

        Raises:
            ValueError: an image too large for its covariance matrix.
        """
        return self.component_variance().mean(-1).sqrt()

    def component_variance(self) -> Tensor:
        """Posterior variance of each real component, (B, C, H, W, 1) or, of complex images, (B, C, H, W, 2)."""
        shape = self.op.shape_in
        size = real_size(shape, self.prior.complex)
        if size > LARGEST:
            raise ValueError(f"std() needs a matrix of {size}^2; at most {LARGEST}: take it from samples instead.")
        columns = self._matrix(self.cov, shape, self.prior.complex)
        variance = columns.diagonal(dim1=-2, dim2=-1).clamp(min=0.0)
        parts = 2 if self.prior.complex else 1
        return variance.reshape(-1, *shape, parts).expand(len(self.y), *shape, parts)

    def log_evidence(self) -> Tensor:
        """log p(y), (B,), over the measured real values; needs matrices."""
        if self._factor is None:
            raise ValueError("the evidence is a determinant; call exact_posterior with dense=True.")
        square = dot(self._residual, self._solve(self._residual)).real
        log_det = 2 * self._factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        total = real_size(self.op.shape_out, self.y.is_complex())
        measured = self._measured()
        log_det = log_det - (total - measured) * math.log(self.variance)
        return -0.5 * (square + log_det + measured * math.log(2 * math.pi))

    def each(self, f: Map, v: Tensor) -> Tensor:
        """f on every row of v (B, n, ...); several rows share a call where the operator serves any batch."""
        if self.op.batch == 1:
            flat = v.flatten(0, 1)
            rows = torch.cat([f(flat[i : i + _ROWS]) for i in range(0, len(flat), _ROWS)])
            return rows.reshape(*v.shape[:2], *rows.shape[1:])
        return torch.stack([f(v[:, j]) for j in range(v.shape[1])], 1)

    def _forward(self, x: Tensor) -> Tensor:
        return self._mask(self.op(x))

    def _mask(self, y: Tensor) -> Tensor:
        return y if self.op.sampled is None else torch.where(self.op.sampled, y, torch.zeros_like(y))

    def _measured(self) -> Tensor:
        """Real values measured, (B or 1,)."""
        ones = torch.ones(self.op.batch, *self.op.shape_out, dtype=torch.float64, device=self.y.device)
        return self._mask(ones).flatten(1).sum(1) * (2 if self.y.is_complex() else 1)

    def _data_cov(self, r: Tensor) -> Tensor:
        """(A C A^H + sigma_y^2 I) r."""
        return self._forward(self.prior.cov(self.op.adjoint(self._mask(r)))) + self.variance * r

    def _gain(self, r: Tensor) -> Tensor:
        """C A^H (A C A^H + sigma_y^2 I)^-1 r."""
        return self.prior.cov(self.op.adjoint(self._solve(r)))

    def _solve(self, r: Tensor) -> Tensor:
        if self._factor is not None:
            columns = real_rows(r)
            factor = self._factor
            if len(factor) == 1:
                return like_rows(torch.cholesky_solve(columns.mT, factor[0]).mT, r)
            return like_rows(torch.cholesky_solve(columns[:, :, None], factor)[:, :, 0], r)
        out = cg(self._data_cov, r, iterations=5000, tol=1e-10)
        error = float((norm(self._data_cov(out) - r) / norm(r).clamp(min=1e-300)).max())
        if not error < 1e-6:
            raise RuntimeError(
                f"conjugate gradients left a relative residual of {error:.2g}; sigma_y is too small for this prior and "
                "operator: raise it, or use dense=True on a smaller image."
            )
        return out

    def _factorise(self) -> Tensor:
        matrix = self._matrix(self._data_cov, self.op.shape_out, self.y.is_complex())
        return torch.linalg.cholesky((matrix + matrix.mT) / 2)

    def _matrix(self, f: Map, shape: Shape, is_complex: bool) -> Tensor:
        """The matrix of f on real coordinates, (1 or op.batch, m, m)."""
        size = real_size(shape, is_complex)
        like = torch.zeros(size, *shape, dtype=torch.complex128 if is_complex else torch.float64, device=self.y.device)
        units = like_rows(torch.eye(size, dtype=torch.float64, device=self.y.device), like)
        columns = self.each(f, units.expand(self.op.batch, *units.shape))
        return real_rows(columns.flatten(0, 1)).reshape(self.op.batch, size, -1).mT


def real_rows(v: Tensor) -> Tensor:
    """(B, ...) as real coordinates (B, m); a complex entry gives two."""
    return (torch.view_as_real(v.resolve_conj()) if v.is_complex() else v).flatten(1)


def like_rows(rows: Tensor, v: Tensor) -> Tensor:
    """Real coordinates (B, m) back in the form of v (B, ...)."""
    if not v.is_complex():
        return rows.reshape(len(rows), *v.shape[1:])
    return torch.view_as_complex(rows.reshape(len(rows), *v.shape[1:], 2).contiguous())
