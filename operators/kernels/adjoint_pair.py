"""grad_x <v, A x> = A^T v: a linear map and its adjoint as torch operators that are each other's gradient.

Known to autograd (to every order), to vmap, to tracing and hence to torch.compile; the kernels are chosen when they
run. A torch operator takes flat arguments: a batch, then the tables that tell of A, those that are tensors first.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Run = Callable[..., Tensor]

# Registered piece by piece: `torch.library.custom_op` doubles the time of a call and takes seconds for the first.
_library = torch.library.Library("invdiff", "FRAGMENT")


def register(name: str, tables: str, apply: Run, transpose: Run, traced: Run) -> None:
    """Make `torch.ops.invdiff.<name>`, (B, ...) to (B, ...), and `<name>_adjoint`.

    Args:
        name: of A x.
        tables: the schema of what tells of A, tensors first; no gradient flows to them.
        apply: A x of (x, *tables), contiguous x.
        transpose: A^T y of (y, *tables, shape), contiguous y, with the shape of one item of x.
        traced: an empty tensor like A x, of (x, *tables).
    """
    adjoint = f"{name}_adjoint"
    _define(f"{name}(Tensor x, {tables})", apply, traced, adjoint, lambda x, tables: (*tables, x.shape[1:]))
    _define(
        f"{adjoint}(Tensor y, {tables}, SymInt[] shape)", transpose, _traced_adjoint, name, lambda y, rest: rest[:-1]
    )


def _traced_adjoint(y: Tensor, *arguments: Any) -> Tensor:
    return y.new_empty(len(y), *arguments[-1])


def _define(
    schema: str, run: Run, traced: Run, transpose: str, handed_on: Callable[[Tensor, Sequence[Any]], Sequence[Any]]
) -> None:
    """One operator, whose gradient is the operator `transpose` with the arguments `handed_on`."""
    name = schema.partition("(")[0]

    def contiguous(x: Tensor, *arguments: Any) -> Tensor:
        return run(x.contiguous(), *arguments).contiguous()

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, *arguments = inputs
        theirs = handed_on(x, arguments)
        tensors = _tensors(theirs)
        ctx.save_for_backward(*tensors)
        ctx.others, ctx.count = theirs[len(tensors) :], len(arguments)

    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _call(transpose, gradient, *ctx.saved_tensors, *ctx.others), *[None] * ctx.count

    def vmapped(info: Any, dims: tuple[int | None, ...], x: Tensor, *arguments: Any) -> tuple[Tensor, int]:
        """Items of vmap are items of the batch."""
        if dims[0] is None or any(dim is not None for dim in dims[1 : 1 + len(_tensors(arguments))]):
            raise ValueError("vmap of a projector may run over images or projections, not over its geometry.")
        x = x.movedim(dims[0], 0)
        return _call(name, x.flatten(0, 1), *arguments).unflatten(0, x.shape[:2]), 0

    _library.define(f"{schema} -> Tensor")
    _library.impl(name, contiguous, "CompositeExplicitAutograd")
    torch.library.register_fake(f"invdiff::{name}", traced, lib=_library)
    torch.library.register_autograd(f"invdiff::{name}", backward, setup_context=keep, lib=_library)
    torch.library.register_vmap(f"invdiff::{name}", vmapped, lib=_library)


def _tensors(arguments: Sequence[Any]) -> list[Tensor]:
    return [a for a in arguments if isinstance(a, Tensor)]


def _call(name: str, *arguments: Any) -> Tensor:
    out: Tensor = getattr(torch.ops.invdiff, name)(*arguments)
    return out
