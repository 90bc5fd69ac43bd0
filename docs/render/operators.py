"""What an operator is: the equation of its file, and the shapes and closed forms of small examples."""

import inspect
import sys

import torch

from docs.render.examples import example
from docs.render.markdown import escaped, prose, table
from invdiff import operators
from invdiff.operators.base import LinearOperator, Operator


def equation(name: str) -> list[str]:
    """The docstring of the file that defines a public operator."""
    module = sys.modules[getattr(operators, name).__module__]
    return prose(inspect.getdoc(module) or "")


def shapes(*names: str) -> list[str]:
    """One row for each example; names have _ for a space."""
    rows = [_row(name, example(name)) for name in (name.replace("_", " ") for name in names)]
    header = ("operator", "x, one item", "y, one item", "linear", r"\|A\|", "singular vectors", "closed data step")
    return table(header, rows)


def _row(name: str, op: Operator) -> tuple[str, ...]:
    known = isinstance(op, LinearOperator) and op.svd(bool(op.complex_in)) is not None
    return (
        f"`{name}`",
        f"{_kind(op.complex_in)} {escaped(str(op.shape_in))}",
        f"{_kind(op.complex_out)} {escaped(str(op.shape_out))}",
        ("over the reals" if op.real_linear else "yes") if isinstance(op, LinearOperator) else "no",
        f"{op.norm():.3g}" if isinstance(op, LinearOperator) else "-",
        _yes(known),
        _yes(isinstance(op, LinearOperator) and closed(op)),
    )


def closed(op: LinearOperator) -> bool:
    """Whether the proximal step of the data needs no iterations."""
    dtype = torch.complex64 if op.complex_in else torch.float32
    z = torch.zeros(1, *op.shape_in, dtype=dtype)
    return op._closed_prox(z, op(z), torch.ones(1, *[1] * len(op.shape_in))) is not None


def _kind(is_complex: bool | None) -> str:
    return {True: "complex", False: "real", None: "either"}[is_complex]


def _yes(flag: bool) -> str:
    return "yes" if flag else "-"


def listing() -> list[str]:
    """Every public operator with the first line of its docstring."""
    rows = []
    for name in operators.__all__:
        thing = getattr(operators, name)
        kind = "function" if not isinstance(thing, type) else "linear" if issubclass(thing, LinearOperator) else "any"
        first = (inspect.getdoc(thing) or "").partition("\n")[0]
        rows.append((f"[`{name}`](#invdiff.operators.{name})", kind, escaped(first)))
    return table(("name", "kind", "what it is"), rows)
