"""y = A x for a network to solve: its image in units of the brightness of a first one, complex ones as two channels."""

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.channels import from_channels, to_channels
from invdiff.priors.prior import Prior
from invdiff.shapes import norm, over
from invdiff.solvers.method import image_is_complex, operator_norm


class Problem:
    """y = A x in units of the brightness s of a rough image, which is worked out once.

    Attributes:
        y, op: as given. is_complex: of the image. channels: real ones of an image, two for each complex one.
        rough: the operator's first image, (B, *op.shape_in); None behind a non-linear operator, which has none.
        s: (B,), the 99th percentile of |rough|; 1 without it. scale: |A|^2.

    Raises:
        ValueError: y of another shape than op gives, or not finite.
    """

    def __init__(self, y: Tensor, op: Operator, prior: Prior | None = None) -> None:
        op.check_measurement(y)
        if not bool(torch.isfinite(y).all()):
            raise ValueError("y has values that are not finite. Repair the data, or clear them in the operator's mask.")
        self.y, self.op = y, op
        self.is_complex = image_is_complex(y, op, prior)
        self.channels = op.shape_in[0] * (2 if self.is_complex else 1)
        self.rough = op.reference_image(y) if isinstance(op, LinearOperator) else None
        self.s, self.scale = _brightness(self.rough, y), operator_norm(op) ** 2

    def image(self, output: Tensor) -> Tensor:
        """Of the output of a network, (B, channels, H, W) real, cut to size, to the image (B, *op.shape_in)."""
        height, width = self.op.shape_in[1:]
        output = output[..., :height, :width]
        return over(self.s, output) * from_channels(output, self.is_complex)

    def output(self, image: Tensor) -> Tensor:
        """The inverse of `image`."""
        channels = to_channels(image)
        return channels / over(self.s, channels)

    def first(self) -> Tensor:
        """The rough image as the output of a network, zero where there is none: input of autoencoding ones."""
        if self.rough is None:
            shape = (len(self.y), self.channels, *self.op.shape_in[1:])
            return torch.zeros(shape, dtype=self.y.dtype.to_real(), device=self.y.device)
        return self.output(self.rough)

    def energy(self, residual: Tensor) -> Tensor:
        """sum_b |A x - y|^2 / (s^2 |A|^2)."""
        return (norm(residual) / self.s).square().sum() / self.scale


def _brightness(rough: Tensor | None, y: Tensor) -> Tensor:
    if rough is None:
        return torch.ones(len(y), dtype=y.dtype.to_real(), device=y.device)
    s = torch.quantile(rough.abs().flatten(1).float(), 0.99, dim=1)
    return torch.where(s > 0, s, 1.0)
