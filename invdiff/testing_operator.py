"""<A x, y> = <x, A^H y>, and the other promises of an operator, checked on random vectors."""

import copy
import pickle
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator, Operator
from invdiff.random import streams
from invdiff.shapes import Shape, over, real_size

# Relative errors allowed. Single precision rounds to 6e-8; a transform of a million values loses a digit of that.
TOLERANCES = {
    "linearity": 1e-5,
    "dot": 1e-5,  # |<Ax, y> - <x, A^H y>| against |Ax| |y|, with y correlated with A x
    "normal": 1e-5,
    "gradient": 1e-5,
    "prox": 1e-4,  # gradient of the objective; conjugate gradients stop at 1e-6 in their own recurrence
    "dense": 1e-5,
    "batch": 1e-5,  # kernels may round differently for other batch sizes
    "double": 1e-4,  # single against double precision
    "vjp": 1e-5,  # against central differences in double precision, which are good to 1e-8
    "pickle": 1e-6,  # devices that add in any order
}
_DENSE_SIZE = 600  # real unknowns and measurements up to which the matrix is built unless asked
_HINTS = {
    "linearity": "A(a x + b z) differs from a A(x) + b A(z). Is it linear over the reals only? Say real_linear = True.",
    "dot": "<A x, y> differs from <x, A^H y>: the adjoint is not the transpose of the forward code. Is a factor, a "
    "shift or a conjugate missing?",
    "normal": "normal(x) differs from adjoint(A(x)).",
    "gradient": "automatic differentiation disagrees with the adjoint.",
    "prox": "A^H (A x - y) + rho (x - z) is not zero at x = prox(z, y, rho).",
    "dense": "the matrices built column by column from forward and adjoint are not each other's conjugate transpose.",
    "batch": "an item's result depends on the other items of its batch.",
    "double": "to(torch.float64) changes the values; are imaginary parts of complex buffers lost?",
    "vjp": "vjp(x, v) disagrees with central differences.",
    "pickle": "the operator read back from its pickle gives other values.",
}


def check_operator(
    op: Operator,
    seed: int = 0,
    dense: bool | None = None,
    *,
    x: Tensor | None = None,
    tolerances: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Check that an operator is what solvers take it for.

    Every operator: shapes, dtypes, input left alone, determinism, independence of the items of a batch, move to double
    precision, pickling. Linear ones: linearity, dot test, normal, gradients, prox, dense matrix. Others: vjp against
    central differences. Operators with `real_linear` are tested over the reals. Operators that take real and complex
    input are tested with both. What this cannot see is whether A is the right physics.

    Args:
        op: as used, in single or double precision, on any device.
        seed: of the random vectors.
        dense: whether to compare dense matrices; None does so for up to 600 real unknowns and measurements.
        x: (B, *shape_in), a point to test at where random normal values are outside the operator's domain.
        tolerances: replaces single entries of `invdiff.testing.TOLERANCES`, all relative. `normal` and `prox` are
            allowed the operator's own `normal_error`.

    Returns:
        The relative error of each check.

    Raises:
        AssertionError: names the operator, the check, the relative error and what was allowed.
        TypeError: not an operator.

    Example:
        >>> from invdiff.operators import Identity
        >>> check_operator(Identity((1, 3, 5)))["dot"] < 1e-6
        True
    """
    if not isinstance(op, Operator):
        raise TypeError(f"check_operator takes an operator, got {type(op).__name__}. Subclass LinearOperator.")
    bars = TOLERANCES | dict(tolerances or {})
    if isinstance(op, LinearOperator):
        bars |= {what: max(bars[what], op.normal_error) for what in ("normal", "prox")}
    unknown = set(bars) - set(TOLERANCES)
    if unknown:
        raise ValueError(f"tolerances: unknown {sorted(unknown)}; there is: {', '.join(TOLERANCES)}.")
    kinds = [x.is_complex()] if x is not None else [op.complex_in] if op.complex_in is not None else [False, True]
    errors: dict[str, float] = {}
    for is_complex in kinds:
        check = _Check(op, seed, is_complex, x, bars)
        check.any_operator()
        if isinstance(op, LinearOperator):
            check.linear_operator(op, dense)
        else:
            check.vjp()
        errors = {what: max(error, errors.get(what, 0.0)) for what, error in check.errors.items()}
    return errors


class _Check:
    """One operator with one kind of input, the random vectors, and the errors found."""

    def __init__(self, op: Operator, seed: int, is_complex: bool, x: Tensor | None, bars: Mapping[str, float]) -> None:
        self.op, self.bars, self.errors = op, bars, dict[str, float]()
        buffer = next(op.buffers(), torch.zeros(()))
        batch = len(x) if x is not None else max(op.batch, 2)
        self.noise, _ = streams(seed, batch, device=buffer.device if x is None else x.device)
        wide = any(b.dtype in (torch.float64, torch.complex128) for b in op.buffers())
        real = x.dtype.to_real() if x is not None else torch.float64 if wide else torch.float32
        self.real, self.batch = real, batch
        self.complex_in, self.complex_out = is_complex, is_complex if op.complex_out is None else op.complex_out
        self.x = self.draw(op.shape_in, is_complex) if x is None else x.detach()
        self.other = self.draw(op.shape_in, is_complex) if x is None else 0.9 * self.x.roll(1, 0)

    def draw(self, shape: Shape, is_complex: bool) -> Tensor:
        return self.noise.like(torch.empty(self.batch, *shape, dtype=self.dtype(is_complex)))

    def dtype(self, is_complex: bool) -> torch.dtype:
        return self.real.to_complex() if is_complex else self.real

    def expect(self, what: str, a: Tensor, b: Tensor, scale: Tensor | None = None) -> None:
        """Refuse a - b above the allowed part of the scale, by default the larger of |a| and |b|."""
        a, b = a.detach().to(torch.complex128), b.detach().to(torch.complex128)
        size = torch.maximum(a.norm(), b.norm()) if scale is None else scale.detach().double()
        error = float((a - b).norm() / size.clamp(min=1e-300))
        self.errors[what] = max(error, self.errors.get(what, 0.0))
        limit = self.bars[what]
        _require(
            error <= limit, f"{self.op.name}: {what}: relative error {error:.1e}, allowed {limit:.0e}. {_HINTS[what]}"
        )

    def shaped(self, what: str, out: Tensor, shape: Shape, is_complex: bool) -> None:
        wanted = (self.batch, *shape)
        _require(tuple(out.shape) == wanted, f"{self.op.name}: {what} gives {tuple(out.shape)}, promised {wanted}.")
        dtype = self.dtype(is_complex)
        _require(out.dtype == dtype, f"{self.op.name}: {what} gives {out.dtype}, promised {dtype}.")

    def pure(self, what: str, function: Callable[[Tensor], Tensor], v: Tensor, shape: Shape, is_complex: bool) -> None:
        """Shape and dtype, the argument left alone, twice the same value."""
        before = v.clone()
        out = function(v)
        self.shaped(what, out, shape, is_complex)
        _require(torch.equal(v, before), f"{self.op.name}: {what} changes its argument.")
        again = function(v)
        same = torch.equal(out, again) if v.device.type == "cpu" else torch.allclose(out, again)
        _require(same, f"{self.op.name}: {what} is not deterministic: two calls differ for the same argument.")

    def any_operator(self) -> None:
        op, x = self.op, self.x
        self.pure("forward", op, x, op.shape_out, self.complex_out)
        self.independent(op, x, self.other)
        self.pickled()
        self.moved()

    def independent(self, function: Callable[[Tensor], Tensor], v: Tensor, other: Tensor) -> None:
        """Item by item: the others replaced, and, where the operator takes any batch, left out."""
        out = function(v)
        for i in range(self.batch):
            mixed = torch.cat((other[:i], v[i : i + 1], other[i + 1 :]))
            self.expect("batch", function(mixed)[i], out[i])
            if self.op.batch == 1:
                self.expect("batch", function(v[i : i + 1])[0], out[i])

    def pickled(self) -> None:
        try:
            twin = pickle.loads(pickle.dumps(self.op))
        except Exception as error:
            raise AssertionError(f"{self.op.name} cannot be pickled: {error}") from error
        self.expect("pickle", twin(self.x), self.op(self.x))

    def moved(self) -> None:
        """In double precision: values, dtype."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a discarded imaginary part is reported below, by its effect
            twin = copy.deepcopy(self.op).to(torch.float64)
        x = self.x.to(torch.complex128 if self.complex_in else torch.float64)
        try:
            out = twin(x)
        except (RuntimeError, TypeError) as error:
            raise AssertionError(f"{self.op.name} fails after to(torch.float64): {error}") from error
        wanted = torch.complex128 if self.complex_out else torch.float64
        _require(out.dtype == wanted, f"{self.op.name} gives {out.dtype} after to(torch.float64), promised {wanted}.")
        self.expect("double", out, self.op(self.x))

    def vjp(self) -> None:
        """Re <v, J u> by central differences against Re <J^H v, u>."""
        op = copy.deepcopy(self.op).to(torch.float64)
        x = self.x.to(torch.complex128 if self.complex_in else torch.float64)
        u = self.draw(op.shape_in, self.complex_in).to(x.dtype)
        v = self.draw(op.shape_out, self.complex_out)
        v = v.to(torch.complex128 if v.is_complex() else torch.float64)
        step = 1e-6 * x.abs().mean()
        change = (op(x + step * u) - op(x - step * u)) / (2 * step)
        pulled = op.vjp(x, v)
        self.expect("vjp", _inner(v, change, True), _inner(pulled, u, True), v.norm() * change.norm())

    def linear_operator(self, op: LinearOperator, dense: bool | None) -> None:
        x = self.x
        ax = op(x)
        noise = self.draw(op.shape_out, self.complex_out)
        y = ax / ax.norm().clamp(min=1e-30) + noise / noise.norm()  # correlated: <A x, y> is not small
        self.pure("adjoint", op.adjoint, y, op.shape_in, self.complex_in)
        self.independent(op.adjoint, y, noise)
        self.linearity(op)
        left, right = _inner(ax, y, op.real_linear), _inner(x, op.adjoint(y), op.real_linear)
        self.expect("dot", left, right, ax.norm() * y.norm())
        self.shaped("normal", op.normal(x), op.shape_in, self.complex_in)
        self.expect("normal", op.normal(x), op.adjoint(ax))
        self.gradients(op, x, y)
        self.prox(op, y)
        small = max(real_size(op.shape_in, self.complex_in), real_size(op.shape_out, self.complex_out)) <= _DENSE_SIZE
        if small if dense is None else dense:
            self.dense(op)

    def linearity(self, op: LinearOperator) -> None:
        x, z = self.x, self.other
        a, b = (1.5, -0.7) if op.real_linear or not self.complex_in else (1.5 - 0.5j, -0.7 + 1.1j)
        self.expect("linearity", op(a * x + b * z), a * op(x) + b * op(z))

    def gradients(self, op: LinearOperator, x: Tensor, y: Tensor) -> None:
        for function, transpose, at, v in ((op, op.adjoint, x, y), (op.adjoint, op, y, x)):
            leaf = at.detach().requires_grad_()
            out = function(leaf)
            _require(
                out.requires_grad,
                f"{op.name}: gradient: the result does not depend on its argument for autograd. Send code that it "
                "cannot follow through invdiff.operators.linear_map.linear_map.",
            )
            (gradient,) = torch.autograd.grad(out, leaf, v)
            self.expect("gradient", gradient, transpose(v))

    def prox(self, op: LinearOperator, y: Tensor) -> None:
        z = self.other
        rho = op.norm() ** 2 * torch.linspace(0.5, 1.0, self.batch, dtype=self.real, device=z.device)
        x = op.prox(z, y, rho, iterations=100, tol=1e-6)
        self.shaped("prox", x, op.shape_in, self.complex_in)
        rho = over(rho, z)
        self.expect("prox", op.adjoint(op(x)) + rho * x, op.adjoint(y) + rho * z)

    def dense(self, op: LinearOperator) -> None:
        forward = self.matrix(op, op.shape_in, self.complex_in)
        backward = self.matrix(op.adjoint, op.shape_out, self.complex_out)
        self.expect("dense", forward.mT, backward)

    def matrix(self, function: Callable[[Tensor], Tensor], shape: Shape, is_complex: bool) -> Tensor:
        """Images of the basis vectors as rows, over the reals: e and i e where the input is complex."""
        n = real_size(shape, is_complex)
        basis = torch.eye(n, dtype=self.real, device=self.x.device)
        vectors = torch.view_as_complex(basis.reshape(n, *shape, 2)) if is_complex else basis.reshape(n, *shape)
        if self.op.batch == 1:
            rows = torch.cat([function(chunk) for chunk in vectors.split(64)])[None]
        else:
            rows = torch.stack([function(v.expand(self.batch, *shape).contiguous()) for v in vectors], 1)
        return (torch.view_as_real(rows.resolve_conj()) if rows.is_complex() else rows).flatten(2)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _inner(a: Tensor, b: Tensor, real: bool) -> Tensor:
    """<a, b> over the whole batch in double precision, or its real part."""
    product = (a.detach().to(torch.complex128).conj() * b.detach().to(torch.complex128)).sum()
    return product.real if real else product
