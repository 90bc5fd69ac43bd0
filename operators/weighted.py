"""|w (A x - y)|^2 = sum_i w_i^2 |(A x - y)_i|^2,   w = 1 / sigma: weighted least squares as least squares of w A, w y.

Noise of standard deviation sigma, different for every entry of y, is white of level 1 after the division. The weights
stand behind the operator, so that every solver minimises the weighted misfit without knowing of it. For counts,
sigma = sqrt(max(y, 1)) is the Gaussian approximation of Poisson noise; `Anscombe` is a better one.
"""

from typing import Any, overload

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator, Operator
from invdiff.shapes import Shape


class Weighting(LinearOperator):
    """x -> w x with real weights w >= 0; an entry of weight zero counts as not measured.

    Args:
        weights: real, broadcastable to (B, *shape); with a batch axis above one the operator fits that batch only.
        shape: of one sample, real or complex.

    Raises:
        TypeError: complex weights.
        ValueError: weights that are negative, not finite or zero everywhere, or that do not fit the shape.

    Example:
        >>> Weighting([1.0, 0.5, 0.0], shape=(1, 1, 3))(torch.ones(1, 1, 1, 3)).tolist()
        [[[[1.0, 0.5, 0.0]]]]
    """

    pointwise = True
    family = ""
    weights: Tensor

    def __init__(self, weights: Any, shape: Shape) -> None:
        super().__init__(shape, shape)
        self.register_buffer("weights", _checked(weights, self.shape_in), persistent=False)
        self.batch = len(self.weights)
        if bool((self.weights == 0).any()):
            self.sampled = self.weights > 0

    def forward(self, x: Tensor) -> Tensor:
        return self.weights * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.weights * y

    def normal(self, x: Tensor) -> Tensor:
        return self.weights**2 * x

    def norm(self) -> float:
        return float(self.weights.max())

    def pinv(self, y: Tensor, iterations: int = 50) -> Tensor:
        """y / w, and zero where the weight is."""
        return torch.where(self.weights > 0, y / self.weights, 0)

    def _closed_prox(self, z: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        """(w y + rho z) / (w^2 + rho)."""
        return (self.weights * y + rho * z) / (self.weights**2 + rho)

    def reference_image(self, y: Tensor) -> Tensor:
        """`pinv`: the intensities of A x, whatever the weights."""
        return self.pinv(y)


@overload
def weighted(op: LinearOperator, weights: Any) -> LinearOperator: ...


@overload
def weighted(op: Operator, weights: Any) -> Operator: ...


def weighted(op: Operator, weights: Any) -> Operator:
    """w A for weights broadcastable to (B, *op.shape_out); its measurement is w y.

    For noise of known standard deviation pass it to `solve` as sigma_y, one value per entry of y: it does this.
    """
    return Weighting(weights, op.shape_out) @ op


def whitened(y: Tensor, op: Operator, sigma: Tensor) -> tuple[Tensor, Operator]:
    """(y / sigma, A / sigma): a measurement whose noise has standard deviation 1, and its operator.

    Args:
        y: (B, *op.shape_out).
        sigma: standard deviation per real component of every entry of y, in its units, broadcastable to it; infinite
            where an entry is not to be used.

    Raises:
        ValueError: sigma that is not positive, or does not fit y.
    """
    sigma = _broadcastable(sigma, op.shape_out, "sigma_y").to(device=y.device, dtype=y.dtype.to_real())
    if not bool((sigma > 0).all()):  # NaN is not either
        raise ValueError("sigma_y of every entry must be positive; it may be infinite where an entry is not used.")
    weighting = Weighting(1 / sigma, op.shape_out)
    if weighting.batch not in (1, len(y)):
        raise ValueError(f"sigma_y is for {weighting.batch} items, y has {len(y)}.")
    return weighting(y), weighting @ op


def _checked(weights: Any, shape: Shape) -> Tensor:
    """Weights as (B or 1, ...), broadcastable to (B, *shape)."""
    weights = torch.as_tensor(weights)
    if weights.is_complex():
        raise TypeError(f"Weighting: weights must be real, got {weights.dtype}.")
    full = _broadcastable(weights if weights.is_floating_point() else weights.float(), shape, "Weighting: weights")
    if not bool((torch.isfinite(full) & (full >= 0)).all()) or not bool(full.any()):
        raise ValueError("Weighting: weights must be finite, 0 or more, and not zero everywhere.")
    return full


def _broadcastable(values: Tensor, shape: Shape, what: str) -> Tensor:
    """Values with the axes of (B, *shape), which they broadcast to."""
    full = values.reshape(*[1] * (len(shape) + 1 - values.ndim), *values.shape)
    if full.ndim != len(shape) + 1 or any(n not in (1, m) for n, m in zip(full.shape[1:], shape, strict=True)):
        wanted = ", ".join(map(str, ("B", *shape)))
        raise ValueError(f"{what} must broadcast to ({wanted}), got {tuple(values.shape)}.")
    return full
