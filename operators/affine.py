"""x -> A(scale x + offset) / scale: a non-linear operator seen from a prior's units.

y is divided by the scale as behind a linear operator, so that for A(c x) = c A(x) the units of x and y do not matter.
"""

from dataclasses import replace

from torch import Tensor

from invdiff.operators.base import Operator
from invdiff.operators.search import Search
from invdiff.shapes import over


class AffineInput(Operator):
    """`op` between an affine map of the image and a division, one scale and offset per item, (B,) each."""

    scale: Tensor
    offset: Tensor

    def __init__(self, op: Operator, scale: Tensor, offset: Tensor) -> None:
        super().__init__(op.shape_in, op.shape_out, op.complex_in, op.complex_out)
        self.op, self.sampled = op, op.sampled
        self.batch = max(op.batch, len(scale))
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    @property
    def name(self) -> str:
        return self.op.name

    def forward(self, x: Tensor) -> Tensor:
        y = self.op(over(self.scale, x) * x + over(self.offset, x))
        return y / over(self.scale, y)

    def first_image(self, y: Tensor, search: Search) -> Tensor | None:
        inner = replace(search, low=self.scale * search.low + self.offset)
        x = self.op.first_image(over(self.scale, y) * y, inner)
        return None if x is None else (x - over(self.offset, x)) / over(self.scale, x)

    def reach(self) -> float:
        return self.op.reach() / float(self.scale.max())

    def norm(self) -> float:
        """Of one item where all are alike."""
        if not hasattr(self, "_norm") and self.op.batch == 1 < len(self.scale):
            if bool(((self.scale == self.scale[0]) & (self.offset == self.offset[0])).all()):
                self._norm = AffineInput(self.op, self.scale[:1], self.offset[:1]).norm()
        return super().norm()
