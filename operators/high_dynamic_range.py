"""y = c + clip(f (x - c), -h, h): exposure with a gain f, saturated at both ends of the range [c - h, c + h]."""

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.operators.intensity import centre_and_half
from invdiff.shapes import Shape


class HighDynamicRange(Operator):
    """Real images (B, *shape) to images that are f times as rich in contrast and clipped to `range`.

    The defaults are the benchmark clip(2 x, -1, 1) for images in [-1, 1]; with `range` the same picture is taken of
    images in other units, in which y then is too.

    The gradient is f where y is not saturated and 0 where it is: there y says of x only that it lies beyond.

    Args:
        shape: of one sample.
        factor: f, positive.
        range: (low, high) of the images that are exposed; c is its middle and h half its width.

    Raises:
        ValueError: a factor or a range that is not positive and finite.

    Example:
        >>> HighDynamicRange((3,))(torch.tensor([[-0.8, 0.25, 0.4]])).tolist()
        [[-1.0, 0.5, 0.800000011920929]]

    Source: Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2023, whose images are in
    [-1, 1], for the benchmark.
    """

    pointwise = True

    def __init__(self, shape: Shape, factor: float = 2.0, range: tuple[float, float] = (-1.0, 1.0)) -> None:
        require("factor", factor, above=0, at_most=1e6)
        super().__init__(shape, shape, complex_in=False)
        self.factor = float(factor)
        self.centre, self.width = centre_and_half(range, "HighDynamicRange")

    def forward(self, x: Tensor) -> Tensor:
        return self.centre + torch.clamp(self.factor * (x - self.centre), -self.width, self.width)
