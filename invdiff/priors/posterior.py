"""p(x0 | y) for y = A x0 + n, n ~ N(0, sigma_y^2 I): exact for Gaussian and Gaussian-mixture priors.

This is what samplers are tested against. Everything runs in double precision on copies of prior and operator.
"""

import copy
from typing import overload

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.gaussian_posterior import LARGEST, GaussianPosterior
from invdiff.priors.mixture import GaussianMixturePrior
from invdiff.priors.mixture_posterior import MixturePosterior
from invdiff.shapes import check_shape, real_size

_DENSE = 2048
"""Real values per measurement up to which matrices are formed without being asked to."""


@overload
def exact_posterior(
    prior: GaussianPrior, op: LinearOperator, y: Tensor, sigma_y: float, *, dense: bool | None = None
) -> GaussianPosterior: ...
@overload
def exact_posterior(
    prior: GaussianMixturePrior, op: LinearOperator, y: Tensor, sigma_y: float, *, dense: bool | None = None
) -> MixturePosterior: ...
def exact_posterior(
    prior: GaussianPrior | GaussianMixturePrior,
    op: LinearOperator,
    y: Tensor,
    sigma_y: float,
    *,
    dense: bool | None = None,
) -> GaussianPosterior | MixturePosterior:
    """The exact posterior of x0 given y = op(x0) + noise.

    Args:
        prior: Gaussian, or a mixture of Gaussians.
        op: linear. Entries of y that `op.sampled` marks as not measured play no part, whatever they hold.
        y: (B, *op.shape_out).
        sigma_y: noise standard deviation per real component, positive.
        dense: form the matrix A C A^H and factor it (True), or solve by conjugate gradients (False). By default
            matrices are formed where a sample of y holds at most 2048 real values. Mixtures need them for the evidence.

    Returns:
        An object with `mean`, `cov(v)`, `sample(n, seed)` and `std()`, all in double precision.

    Raises:
        TypeError: a prior of another kind, or an operator that is not linear.
        ValueError: shapes or dtypes that do not match, sigma_y not positive, a problem too large for matrices.
    """
    if not isinstance(op, LinearOperator):
        raise TypeError(f"an exact posterior needs a linear operator, got {type(op).__name__}.")
    if not isinstance(prior, GaussianPrior | GaussianMixturePrior):
        raise TypeError(f"exact posteriors exist for Gaussian and Gaussian-mixture priors, not {type(prior).__name__}.")
    check_shape(f"exact_posterior behind {op.name}", y, op.shape_out)
    if not sigma_y > 0:
        raise ValueError(f"sigma_y must be positive, got {sigma_y}.")
    if tuple(op.shape_in) != prior.shape or (op.complex_in is not None and op.complex_in != prior.complex):
        kind = "complex" if prior.complex else "real"
        raise ValueError(
            f"{op.name} takes {op.shape_in}, the prior is of {kind} images {prior.shape}; they must agree."
        )
    size = real_size(op.shape_out, y.is_complex())
    mixture = isinstance(prior, GaussianMixturePrior)
    dense = mixture or size <= _DENSE if dense is None else dense
    if mixture and not dense:
        raise ValueError("the posterior of a mixture needs dense=True: its evidence is a determinant.")
    if dense and size > LARGEST:
        raise ValueError(
            f"y holds {size} real values, too many to form its covariance (at most {LARGEST}); use a smaller image, "
            "or a Gaussian prior with dense=False."
        )
    op = copy.deepcopy(op).double()
    wide = torch.where(op.sampled, y, torch.zeros_like(y)) if op.sampled is not None else y
    wide = wide.to(torch.complex128 if y.is_complex() else torch.float64)
    if isinstance(prior, GaussianMixturePrior):
        return MixturePosterior(prior, op, wide, float(sigma_y))
    return GaussianPosterior(prior, op, wide, float(sigma_y), dense)
