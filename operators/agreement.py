"""What operators that are combined agree on: real or complex, the size of the batch they hold, pixels, family."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from invdiff.operators.base import Operator


def kind(is_complex: bool) -> str:
    return "complex" if is_complex else "real"


def common_kinds(formula: str, ops: Sequence[Operator]) -> tuple[bool | None, bool | None]:
    """Common kinds of input and output of operators side by side."""
    complex_in = _common(formula, "input", ops, [op.complex_in for op in ops])
    outputs = [complex_in if op.complex_out is None else op.complex_out for op in ops]
    return complex_in, _common(formula, "output", ops, outputs)


def _common(formula: str, what: str, ops: Sequence[Operator], kinds: Sequence[bool | None]) -> bool | None:
    known = {kind for kind in kinds if kind is not None}
    if len(known) > 1:
        listed = ", ".join(f"{op.name} {kind(k)}" for op, k in zip(ops, kinds, strict=True) if k is not None)
        raise TypeError(f"{formula}: {what}s must be all real or all complex, got {listed}.")
    return known.pop() if known else None


def common_batch(formula: str, ops: Sequence[Operator]) -> int:
    sizes = {op.batch for op in ops} - {1}
    if len(sizes) > 1:
        raise ValueError(f"{formula}: operators hold tensors for different batches, {sorted(sizes)}.")
    return sizes.pop() if sizes else 1


def common_support(ops: Sequence[Operator]) -> Tensor | None:
    """The pixels that any of them can tell of; None where that is all."""
    supports = [op.support for op in ops if op.support is not None]
    return reduce(torch.logical_or, supports) if len(supports) == len(ops) else None


def common_family(ops: Sequence[Operator]) -> str | None:
    """The family of all, None where they differ."""
    families = {op.family for op in ops}
    return families.pop() if len(families) == 1 else None
