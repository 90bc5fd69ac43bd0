"""y = A x_1 + B x_2 + ...: one measurement of several images, which are the channels of one.

Soft-SENSE is the row of the operators of each set of coil maps. Source: Uecker et al., ESPIRiT, 2014.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from invdiff.operators.agreement import common_batch, common_family, common_kinds
from invdiff.operators.base import LinearOperator


def row(*ops: LinearOperator) -> "Row":
    """[A B ...]: images (B, C_1 + C_2 + ..., H, W) to the sum of what each operator makes of its channels.

    The counterpart of `stack`, which measures one image several times.

    Raises:
        TypeError: not linear operators, or a mix of real and complex.
        ValueError: no operators, or image sizes, outputs or batches that differ.

    Example:
        >>> from invdiff.operators import CartesianMRI
        >>> sets = [torch.ones(2, 6, 5, dtype=torch.complex64), 1j * torch.ones(2, 6, 5)]
        >>> row(*[CartesianMRI(torch.ones(5), maps) for maps in sets]).shape_in
        (2, 6, 5)
    """
    if not ops:
        raise ValueError("row takes one operator or more, got none.")
    for op in ops:
        if not isinstance(op, LinearOperator):
            raise TypeError(f"row takes linear operators, got {type(op).__name__}. Write row(A, B), not row([A, B]).")
    return Row(ops)


class Row(LinearOperator):
    """[A B ...]; made by `row`."""

    def __init__(self, ops: Sequence[LinearOperator]) -> None:
        formula = f"row({', '.join(op.name for op in ops)})"
        sizes = list(dict.fromkeys(op.shape_in[1:] for op in ops))
        outputs = list(dict.fromkeys(op.shape_out for op in ops))
        for what, found in (("image sizes", sizes), ("measurements", outputs)):
            if len(found) > 1:
                raise ValueError(f"{formula}: all must have the same {what}, got {' and '.join(map(str, found))}.")
        self.channels = [op.shape_in[0] for op in ops]
        super().__init__((sum(self.channels), *sizes[0]), outputs[0], *common_kinds(formula, ops))
        self.parts: Any = nn.ModuleList(ops)
        self.formula, self.batch, self.family = formula, common_batch(formula, ops), common_family(ops)
        self.real_linear = any(op.real_linear for op in ops)
        self.sampled, self.support = _either(ops), self._supports(ops)

    @staticmethod
    def _supports(ops: Sequence[LinearOperator]) -> Tensor | None:
        """The pixels of every channel that its operator sees."""
        if all(op.support is None for op in ops):
            return None
        whole = torch.ones((), dtype=torch.bool, device=ops[0].device)
        seen = [whole if op.support is None else op.support for op in ops]
        count = max(len(s) if s.ndim else 1 for s in seen)
        return torch.cat([s.expand(count, *op.shape_in) for s, op in zip(seen, ops, strict=True)], 1)

    @property
    def name(self) -> str:
        return self.formula

    def forward(self, x: Tensor) -> Tensor:
        images = x.split(self.channels, dim=1)
        return torch.stack([op(image) for op, image in zip(self.parts, images, strict=True)]).sum(0)

    def _adjoint(self, y: Tensor) -> Tensor:
        return torch.cat([op.adjoint(y) for op in self.parts], 1)

    def estimate_sigma(self, y: Tensor) -> Tensor | None:
        level: Tensor | None = self.parts[0].estimate_sigma(y)
        return level


def _either(ops: Sequence[LinearOperator]) -> Tensor | None:
    """What any operator measures, None where that is everything."""
    masks = [op.sampled for op in ops]
    together: Tensor | None = masks[0]
    for mask in masks[1:]:
        together = None if together is None or mask is None else together | mask
    return together
