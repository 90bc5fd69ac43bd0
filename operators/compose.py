"""A B x,   A x + B x,   c A x,   A^H y: operators made of operators.

Composites check shapes and kinds (real or complex) at construction, and messages call them by their formula.
"""

import math
from numbers import Complex

from torch import Tensor

from invdiff.operators.agreement import common_batch, common_kinds, common_support, kind
from invdiff.operators.base import LinearOperator, Operator
from invdiff.operators.search import Search
from invdiff.operators.svd import SVD


class Adjoint(LinearOperator):
    """A^H as an operator; its own adjoint is the operator it came from."""

    def __init__(self, op: LinearOperator) -> None:
        super().__init__(op.shape_out, op.shape_in, op.complex_out, op.complex_in)
        self.op, self.batch, self.real_linear, self.pointwise = op, op.batch, op.real_linear, op.pointwise

    @property
    def name(self) -> str:
        return f"{_enclosed(self.op, Product, Sum, Scaled)}.H"

    def forward(self, x: Tensor) -> Tensor:
        return self.op.adjoint(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.op(y)

    @property
    def H(self) -> LinearOperator:  # noqa: N802
        return self.op

    def norm(self) -> float:
        return self.op.norm()


def compose(left: Operator, right: Operator) -> Operator:
    """x -> left(right(x)); a LinearOperator if both are.

    Noise sits on the output of `left`, so `sampled` and `estimate_sigma` are those of `left`; what `right` does not
    measure is not sampled either where `left` works entry by entry.

    Raises:
        TypeError: not two operators, or a real output where a complex input is wanted, or the reverse.
        ValueError: shapes or batches that do not fit.
    """
    if not isinstance(right, Operator):
        hint = " Apply an operator by calling it: op(x)." if isinstance(right, Tensor) else ""
        raise TypeError(f"{left.name} @ takes an operator, got {type(right).__name__}.{hint}")
    if isinstance(left, LinearOperator) and isinstance(right, LinearOperator):
        return Product(left, right)
    return Composition(left, right)


class Composition(Operator):
    """x -> left(right(x)), of which at least one is not linear."""

    def __init__(self, left: Operator, right: Operator) -> None:
        formula = f"{_enclosed(left, Sum, Scaled)} @ {_enclosed(right, Sum, Scaled)}"
        if left.shape_in != right.shape_out:
            raise ValueError(f"{formula}: {left.name} takes {left.shape_in}, {right.name} gives {right.shape_out}.")
        if left.complex_in is not None and right.complex_out not in (None, left.complex_in):
            hint = " Put RealToComplex(shape) between them." if left.complex_in else ""
            raise TypeError(
                f"{formula}: {left.name} takes {kind(left.complex_in)} input, "
                f"{right.name} gives {kind(not left.complex_in)} output.{hint}"
            )
        complex_in = left.complex_in if right.complex_out is None else right.complex_in
        complex_out = right.complex_out if left.complex_out is None else left.complex_out
        super().__init__(right.shape_in, left.shape_out, complex_in, complex_out)
        self.left, self.right, self.formula = left, right, formula
        self.sampled, self.support = _sampled(left, right), _support(left, right)
        self.batch = common_batch(formula, (left, right))
        self.pointwise = left.pointwise and right.pointwise
        self.family = right.family if left.family == "" else left.family if right.family == "" else None

    @property
    def name(self) -> str:
        return self.formula

    def forward(self, x: Tensor) -> Tensor:
        return self.left(self.right(x))

    def first_image(self, y: Tensor, search: Search) -> Tensor | None:
        """That of B, where A only weighs its entries."""
        if not (isinstance(self.left, LinearOperator) and self.left.pointwise):
            return None
        return self.right.first_image(self.left.reference_image(y), search.among(self.sampled))

    def reach(self) -> float:
        return self.right.reach()

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.right.vjp(x, self.left.vjp(self.right(x), v))

    def estimate_sigma(self, y: Tensor) -> Tensor | None:
        return self.left.estimate_sigma(y)


class Product(Composition, LinearOperator):
    """A B for linear A and B."""

    left: LinearOperator
    right: LinearOperator

    def __init__(self, left: LinearOperator, right: LinearOperator) -> None:
        super().__init__(left, right)
        self.real_linear = left.real_linear or right.real_linear
        self.normal_error = left.normal_error

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.right.adjoint(self.left.adjoint(y))

    def normal(self, x: Tensor) -> Tensor:
        """B^H (A^H A) B x, with the fast form of A^H A where there is one."""
        return self.right.adjoint(self.left.normal(self.right(x)))

    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.adjoint(v)

    def reference_image(self, y: Tensor) -> Tensor:
        """The reference image of B for data that are the reference image of A."""
        return self.right.reference_image(self.left.reference_image(y))


class Sum(LinearOperator):
    """A x + B x; an entry of y is measured if either measures it.

    Raises:
        TypeError: not linear operators, or a mix of real and complex.
        ValueError: shapes or batches that differ.
    """

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        if not isinstance(second, LinearOperator):
            raise TypeError(f"{first.name} + takes a linear operator, got {type(second).__name__}.")
        formula = f"{first.name} + {second.name}"
        pair = (first, second)
        if (first.shape_in, first.shape_out) != (second.shape_in, second.shape_out):
            shapes = " and ".join(f"{op.shape_in} to {op.shape_out}" for op in pair)
            raise ValueError(f"{formula}: both must map the same shapes, got {shapes}.")
        super().__init__(first.shape_in, first.shape_out, *common_kinds(formula, pair))
        self.first, self.second, self.formula = first, second, formula
        self.batch, self.real_linear = common_batch(formula, pair), first.real_linear or second.real_linear
        self.pointwise, self.support = first.pointwise and second.pointwise, common_support(pair)
        if first.sampled is not None and second.sampled is not None:
            self.sampled = first.sampled | second.sampled

    @property
    def name(self) -> str:
        return self.formula

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.first.adjoint(y) + self.second.adjoint(y)


class Scaled(LinearOperator):
    """c A. Closed forms of A stay closed: |c A x - y| = |c| |A x - y / c|.

    Raises:
        TypeError: c is not a number, or complex where A gives real output or leaves the kind open.
        ValueError: c is zero or not finite.
    """

    op: LinearOperator
    factor: float | complex

    def __init__(self, op: LinearOperator, factor: complex) -> None:
        if not isinstance(factor, Complex):
            raise TypeError(f"{op.name} can be multiplied by a number, got {type(factor).__name__}.")
        factor = complex(factor)
        if factor == 0 or not (math.isfinite(factor.real) and math.isfinite(factor.imag)):
            raise ValueError(f"{op.name}: the factor must be finite and not zero, got {factor:g}.")
        if factor.imag != 0 and not op.complex_out:
            raise TypeError(f"{op.name}: a complex factor needs an operator with complex output, got {factor:g}.")
        super().__init__(op.shape_in, op.shape_out, op.complex_in, op.complex_out)
        self.op, self.factor = op, factor if factor.imag else factor.real
        self.sampled, self.batch, self.real_linear, self.pointwise = op.sampled, op.batch, op.real_linear, op.pointwise
        self.normal_error, self.support, self.family = op.normal_error, op.support, op.family

    @property
    def name(self) -> str:
        factor = f"({self.factor:g})" if isinstance(self.factor, complex) else f"{self.factor:g}"
        return f"{factor} * {_enclosed(self.op, Sum)}"

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.op(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.op.adjoint(self.factor.conjugate() * y)

    def normal(self, x: Tensor) -> Tensor:
        return abs(self.factor) ** 2 * self.op.normal(x)

    def norm(self) -> float:
        return abs(self.factor) * self.op.norm()

    def pinv(self, y: Tensor, iterations: int = 50) -> Tensor:
        return self.op.pinv(y / self.factor, iterations)

    def prox(
        self,
        z: Tensor,
        y: Tensor,
        rho: Tensor | float,
        x: Tensor | None = None,
        iterations: int = 30,
        tol: float = 1e-5,
    ) -> Tensor:
        return self.op.prox(z, y / self.factor, rho / abs(self.factor) ** 2, x, iterations, tol)

    def svd(self, is_complex: bool) -> SVD | None:
        inner = self.op.svd(is_complex)
        if inner is None:
            return None
        turn = self.factor.conjugate() / abs(self.factor)
        return inner._replace(s=abs(self.factor) * inner.s, uh=lambda y: inner.uh(turn * y))

    def reference_image(self, y: Tensor) -> Tensor:
        return self.op.reference_image(y / self.factor)

    def estimate_sigma(self, y: Tensor) -> Tensor | None:
        return self.op.estimate_sigma(y)


def _sampled(left: Operator, right: Operator) -> Tensor | None:
    if not left.pointwise or right.sampled is None:
        return left.sampled
    return right.sampled if left.sampled is None else left.sampled & right.sampled


def _support(left: Operator, right: Operator) -> Tensor | None:
    if not right.pointwise or left.support is None:
        return right.support
    return left.support if right.support is None else left.support & right.support


def _enclosed(op: Operator, *kinds: type[Operator]) -> str:
    return f"({op.name})" if isinstance(op, kinds) else op.name
