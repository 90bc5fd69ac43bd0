"""y = A x: what every forward operator is.

`Operator` is a differentiable map between batches of fixed shape; `LinearOperator` adds its exact adjoint and the
solves that samplers need. Operators are pure and deterministic; noise is not part of them (`simulate` adds it).
"""

import math
from functools import partial
from typing import overload

import torch
from torch import Tensor

from invdiff.linalg import cg, power_iteration
from invdiff.module import Movable
from invdiff.operators.search import Search
from invdiff.operators.svd import SVD
from invdiff.random import streams
from invdiff.shapes import Shape, check_shape, over, real_size


class Operator(Movable):
    """A differentiable map (B, *shape_in) -> (B, *shape_out).

    Args:
        shape_in, shape_out: shapes of one sample, without the batch axis.
        complex_in, complex_out: whether input and output are complex; None means "as the input".

    Subclasses implement `forward`, keep their tensors in non-persistent buffers, and set
        sampled: bool buffer that broadcasts to (B, *shape_out), or None where every entry of y is measured;
        support: bool buffer that broadcasts to (B, *shape_in), the pixels that may differ from zero because y can tell
            of them (some coil sees them), or None where that is all of them;
        batch: number of items that the operator's own tensors hold (1: any batch fits).
    `pointwise` says that each entry of y comes from the same entry of x alone: in A @ B, what B does not measure A does
    not either. `family` is the kind of measurement for which tuned settings are looked up (see `invdiff.tuned`): None
    where it is of no kind with others, "" where A @ B is of the kind of B, and B @ A too.
    """

    linear = False
    pointwise = False
    family: str | None = None
    sampled: Tensor | None
    support: Tensor | None

    def __init__(
        self,
        shape_in: Shape,
        shape_out: Shape,
        complex_in: bool | None = None,
        complex_out: bool | None = None,
    ) -> None:
        super().__init__()
        for name, shape in (("shape_in", shape_in), ("shape_out", shape_out)):
            if not shape or any(int(n) < 1 for n in shape):
                raise ValueError(f"{type(self).__name__}: {name} must be positive sizes, got {tuple(shape)}.")
        self.shape_in: Shape = tuple(int(n) for n in shape_in)
        self.shape_out: Shape = tuple(int(n) for n in shape_out)
        self.complex_in, self.complex_out = complex_in, complex_in if complex_out is None else complex_out
        self.register_buffer("sampled", None, persistent=False)
        self.register_buffer("support", None, persistent=False)
        self.batch = 1

    @property
    def name(self) -> str:
        """How messages call this operator; composites say their formula."""
        return type(self).__name__

    def __call__(self, x: Tensor) -> Tensor:
        check_shape(self.name, x, self.shape_in)
        self._check_kind("x", x, self.complex_in)
        self._check_batch(x)
        out: Tensor = super().__call__(x)
        return out

    def check_measurement(self, y: Tensor) -> None:
        """Refuse y of another shape than this operator gives.

        Raises:
            ValueError: with what was wanted and what came.
        """
        check_shape(f"{self.name}: y", y, self.shape_out)

    def _check_kind(self, what: str, x: Tensor, wanted: bool | None) -> None:
        if wanted is not None and x.is_complex() != wanted:
            kind = "complex" if wanted else "real"
            raise TypeError(f"{self.name} takes a {kind} {what}, got {x.dtype}.")

    def _check_batch(self, x: Tensor) -> None:
        if self.batch not in (1, len(x)):
            raise ValueError(f"{self.name} holds tensors for {self.batch} items, got a batch of {len(x)}.")

    def A(self, x: Tensor) -> Tensor:  # noqa: N802 (the field's name)
        """The same as calling the operator."""
        return self(x)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """J(x)^H v, (B, *shape_in), for v of the output's shape; by automatic differentiation."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (grad,) = torch.autograd.grad(self(x), x, v)
        return grad

    def simulate(self, x: Tensor, sigma_y: float = 0.0, seed: int | None = 0) -> Tensor:
        """A(x) plus white Gaussian noise of standard deviation sigma_y per real component, zero where not sampled.

        Sample i of the batch draws from stream i of `seed`, whatever the batch.
        """
        y = self(x)
        if sigma_y < 0:
            raise ValueError(f"sigma_y must be 0 or more, got {sigma_y}.")
        noise, _ = streams(seed, len(y), device=y.device)
        y = y + sigma_y * noise.like(y)
        return y if self.sampled is None else torch.where(self.sampled, y, torch.zeros_like(y))

    def measured(self, is_complex: bool) -> Tensor:
        """Number of real values that one sample of y holds, entries that are not sampled left out.

        (), or (B,) where the masks of a batch are its items' own.
        """
        if self.sampled is None:
            return torch.tensor(real_size(self.shape_out, is_complex))
        count = self.sampled.expand(len(self.sampled), *self.shape_out).flatten(1).sum(1) * (2 if is_complex else 1)
        return count[0] if len(count) == 1 else count

    def estimate_sigma(self, y: Tensor) -> Tensor | None:
        """Noise standard deviation per real component from y alone, (B,), or None where y cannot tell."""
        return None

    def first_image(self, y: Tensor, search: Search) -> Tensor | None:
        """An image to begin with, (B, *shape_in), where descents from a blank one end far from the truth; else None.

        Args:
            y: (B, *shape_out).
            search: what the image is to be, and what to go by.
        """
        return None

    def reach(self) -> float:
        """How large images may be, root mean square, for A to be about its tangent at zero; where none is known, inf.

        In the units of x: it tells `norm` what "near zero" is, for operators in whose formula x has a unit.
        """
        return math.inf

    def norm(self) -> float:
        """How far y moves with x, by which solvers divide their steps: |J(x)| near x = 0, computed once."""
        from invdiff.operators.local_norm import local_norm

        if not hasattr(self, "_norm"):
            self._norm = local_norm(self)
        return self._norm

    @property
    def device(self) -> torch.device:
        return next((b.device for b in self.buffers()), torch.device("cpu"))

    @property
    def dtype_in(self) -> torch.dtype:
        """Input dtype at the precision of the operator's buffers."""
        wide = any(b.dtype in (torch.float64, torch.complex128) for b in self.buffers())
        real = torch.float64 if wide else torch.float32
        return real.to_complex() if self.complex_in else real

    def affine(self, scale: Tensor, offset: Tensor) -> "Operator":
        """x -> A(scale x + offset) / scale, one scale and offset per item of the batch, (B,) each."""
        from invdiff.operators.affine import AffineInput

        return AffineInput(self, scale, offset)

    def __matmul__(self, other: "Operator") -> "Operator":
        from invdiff.operators.compose import compose

        return compose(self, other)


class LinearOperator(Operator):
    """A linear map with its exact adjoint <A x, y> = <x, A^H y>.

    `real_linear` says that the map is linear over the reals only (a real image behind a complex transform); inner
    products are then Re <., .>. Subclasses implement `forward` and `_adjoint`, and override `normal`, `pinv` and
    `_closed_prox` where a faster or closed form exists. `normal_error` bounds the relative distance of `normal` from
    adjoint(A(x)) where A is an approximation and `normal` an exacter one.
    """

    linear = True
    real_linear = False
    normal_error = 0.0

    def _adjoint(self, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _adjoint(y).")

    def adjoint(self, y: Tensor) -> Tensor:
        """A^H y, (B, *shape_out) to (B, *shape_in): the transpose of the code that runs."""
        check_shape(f"the adjoint of {self.name}", y, self.shape_out)
        self._check_kind("y", y, self.complex_out)
        self._check_batch(y)
        return self._adjoint(y)

    def A_adjoint(self, y: Tensor) -> Tensor:  # noqa: N802
        """The same as `adjoint`."""
        return self.adjoint(y)

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.adjoint(v)

    def normal(self, x: Tensor) -> Tensor:
        """A^H A x."""
        return self.adjoint(self(x))

    @property
    def H(self) -> "LinearOperator":  # noqa: N802
        """The adjoint as an operator; `op.H.H` is `op`."""
        from invdiff.operators.compose import Adjoint

        return Adjoint(self)

    def norm(self) -> float:
        """Spectral norm |A|, by power iteration on A^H A, computed once."""
        if not hasattr(self, "_norm"):
            noise, _ = streams(0, self.batch, device=self.device)
            start = noise.like(torch.zeros(self.batch, *self.shape_in, dtype=self.dtype_in))
            values = [power_iteration(partial(self._item_normal, i), start[i : i + 1]) for i in range(self.batch)]
            self._norm = math.sqrt(max(float(v) for v in values))
        return self._norm

    def _item_normal(self, i: int, x: Tensor) -> Tensor:
        """A^H A of item i where the operator holds tensors of a batch."""
        return self.normal(x.expand(self.batch, *x.shape[1:]))[i : i + 1]

    def pinv(self, y: Tensor, iterations: int = 50) -> Tensor:
        """The least-squares image of least norm, A^+ y, by conjugate gradients unless a closed form exists."""
        return cg(self.normal, self.adjoint(y), iterations=iterations, tol=1e-6)

    def prox(
        self,
        z: Tensor,
        y: Tensor,
        rho: Tensor | float,
        x: Tensor | None = None,
        iterations: int = 30,
        tol: float = 1e-5,
    ) -> Tensor:
        """argmin_x |A x - y|^2 + rho |x - z|^2, (B, *shape_in).

        Args:
            z: (B, *shape_in). y: (B, *shape_out). rho: positive, a number or (B,).
            x: start of the conjugate gradients (z if absent); closed forms ignore it, `iterations` and `tol`.
        """
        rho = over(torch.as_tensor(rho, dtype=z.dtype.to_real(), device=z.device), z)
        closed = self._closed_prox(z, y, rho)
        if closed is not None:
            return closed
        b = self.adjoint(y) + rho * z
        return cg(lambda v: self.normal(v) + rho * v, b, z if x is None else x, iterations=iterations, tol=tol)

    def _closed_prox(self, z: Tensor, y: Tensor, rho: Tensor) -> Tensor | None:
        """`prox` where there is a formula for it, rho broadcasting over z; None asks for conjugate gradients."""
        return None

    def svd(self, is_complex: bool) -> SVD | None:
        """Singular values, and singular vectors as maps, where they are known; None elsewhere.

        Args:
            is_complex: whether images are.
        """
        return None

    def reference_image(self, y: Tensor) -> Tensor:
        """A rough image whose magnitudes tell the intensity scale: a few conjugate-gradient steps from zero.

        Not `pinv`, which in closed form amplifies the noise of a blur without limit.
        """
        return cg(self.normal, self.adjoint(y), iterations=10)

    @overload
    def __matmul__(self, other: "LinearOperator") -> "LinearOperator": ...

    @overload
    def __matmul__(self, other: Operator) -> Operator: ...

    def __matmul__(self, other: Operator) -> Operator:
        return super().__matmul__(other)

    def __add__(self, other: "LinearOperator") -> "LinearOperator":
        from invdiff.operators.compose import Sum

        return Sum(self, other)

    def __mul__(self, factor: complex) -> "LinearOperator":
        from invdiff.operators.compose import Scaled

        return Scaled(self, factor)

    __rmul__ = __mul__
