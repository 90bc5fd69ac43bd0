"""y = (A x, B x, ...): several measurements of one image, as one vector."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from invdiff.operators.agreement import common_batch, common_family, common_kinds, common_support
from invdiff.operators.base import LinearOperator, Operator


def stack(*ops: Operator) -> "Stack":
    """x -> (A x, B x, ...), each output flattened and all concatenated to one vector (B, n) per item.

    `split` of the result takes such a vector apart again. A LinearStack if all operators are linear.

    Raises:
        TypeError: not operators, or a mix of real and complex outputs or inputs.
        ValueError: no operators, or input shapes or batches that differ.
    """
    if not ops:
        raise ValueError("stack takes one operator or more, got none.")
    for op in ops:
        if not isinstance(op, Operator):
            raise TypeError(f"stack takes operators, got {type(op).__name__}. Write stack(A, B), not stack([A, B]).")
    linear = [op for op in ops if isinstance(op, LinearOperator)]
    return LinearStack(linear) if len(linear) == len(ops) else Stack(ops)


class Stack(Operator):
    """x -> (A x, B x, ...) as one vector; made by `stack`."""

    def __init__(self, ops: Sequence[Operator]) -> None:
        formula = f"stack({', '.join(op.name for op in ops)})"
        shapes = list(dict.fromkeys(op.shape_in for op in ops))
        if len(shapes) > 1:
            raise ValueError(f"{formula}: all must take the same input, got {' and '.join(map(str, shapes))}.")
        sizes = [math.prod(op.shape_out) for op in ops]
        super().__init__(shapes[0], (sum(sizes),), *common_kinds(formula, ops))
        self.parts: Any = nn.ModuleList(ops)
        self.sizes, self.formula, self.family = sizes, formula, common_family(ops)
        self.batch, self.support = common_batch(formula, ops), common_support(ops)
        if any(op.sampled is not None for op in ops):
            self.sampled = self._flat_masks(ops)

    @staticmethod
    def _flat_masks(ops: Sequence[Operator]) -> Tensor:
        held = [op.sampled for op in ops if op.sampled is not None]
        count, everything = max(map(len, held)), torch.ones((), dtype=torch.bool, device=held[0].device)
        masks = [everything if op.sampled is None else op.sampled for op in ops]
        return torch.cat([m.expand(count, *op.shape_out).flatten(1) for m, op in zip(masks, ops, strict=True)], 1)

    @property
    def name(self) -> str:
        return self.formula

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([op(x).flatten(1) for op in self.parts], 1)

    def reach(self) -> float:
        return min(op.reach() for op in self.parts)

    def split(self, y: Tensor) -> list[Tensor]:
        """The measurement of each operator in its own shape, from (B, n)."""
        pieces = y.split(self.sizes, dim=1)
        return [piece.unflatten(1, op.shape_out) for piece, op in zip(pieces, self.parts, strict=True)]

    def estimate_sigma(self, y: Tensor) -> Tensor | None:
        """Root mean square over the operators that can tell."""
        told = [op.estimate_sigma(piece) for op, piece in zip(self.parts, self.split(y), strict=True)]
        levels = [level for level in told if level is not None]
        return torch.stack(levels).square().mean(0).sqrt() if levels else None


class LinearStack(Stack, LinearOperator):
    """The stack of linear operators."""

    def __init__(self, ops: Sequence[LinearOperator]) -> None:
        super().__init__(ops)
        self.real_linear = any(op.real_linear for op in ops)
        self.normal_error = max(op.normal_error for op in ops)

    def _adjoint(self, y: Tensor) -> Tensor:
        terms = [op.adjoint(piece) for op, piece in zip(self.parts, self.split(y), strict=True)]
        return torch.stack(terms).sum(0)

    def normal(self, x: Tensor) -> Tensor:
        return torch.stack([op.normal(x) for op in self.parts]).sum(0)
