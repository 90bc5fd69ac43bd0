"""x -> A(scale x + offset): a non-linear operator seen from a prior's units."""

from torch import Tensor

from invdiff.operators.base import Operator
from invdiff.shapes import over


class AffineInput(Operator):
    """`op` after an affine map of the image, one scale and offset per item, (B,) each."""

    scale: Tensor
    offset: Tensor

    def __init__(self, op: Operator, scale: Tensor, offset: Tensor) -> None:
        super().__init__(op.shape_in, op.shape_out, op.complex_in, op.complex_out)
        self.op, self.sampled = op, op.sampled
        self.batch = max(op.batch, len(scale))
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(over(self.scale, x) * x + over(self.offset, x))
