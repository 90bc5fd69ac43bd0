"""y = sum_j w_j (k_j * x),   w = softmax_j(a_j(r) + s b_j u(r)),   u = g * mean_c (x - c) / h: blur by what is there.

Every pixel is blurred by its own mixture of a few fixed motion kernels k_j. The weights of the mixture vary slowly over
the image through the smooth fields a_j, and with the local brightness u, scaled to [-1, 1], through the slopes b_j: as
where bright and dark objects move differently. The second makes the map non-linear. g is a Gaussian, a quarter as wide
as the kernels.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.operators.blur import Blur
from invdiff.operators.intensity import centre_and_half
from invdiff.operators.psf import gaussian_kernel, motion_kernel
from invdiff.random import mix, streams
from invdiff.shapes import Shape

NODES = 3  # random values of a field along each axis, interpolated between


class NonlinearBlur(Operator):
    """A fixed blur of real images (B, C, H, W) that varies over the image and depends on it; smooth in x.

    Kernels are non-negative and sum to one, and so do weights: y lies between the extremes of x, and constant images
    stay what they are. Images are mirrored at their border. All channels have the same weights.

    Args:
        shape: (C, H, W).
        seed: of kernels, fields and slopes; everything is drawn at construction, so measurement and model agree.
        kernels: how many are mixed.
        size: pixels on a side of a kernel, 2 min(H, W) - 1 at most.
        intensity: 0 straight motions, 1 many turns.
        strength: s, how much the brightness decides; 0 is a linear, spatially varying blur.
        range: (low, high) of the images; u is -1 and 1 there, c the middle and h half the width.

    Raises:
        ValueError: see `Blur`; also an option out of its range.

    Example:
        >>> op = NonlinearBlur((1, 8, 8), seed=3, size=5)
        >>> torch.allclose(op(torch.full((1, 1, 8, 8), 0.5)), torch.tensor(0.5))
        True

    Differs: this definition is our own. The benchmark of this name (Chung et al., 2023) takes a network trained on
    video (Tran et al., 2021), which is not needed here; numbers are not comparable with it.
    """

    field: Tensor
    slopes: Tensor

    def __init__(
        self,
        shape: Shape,
        seed: int = 0,
        kernels: int = 4,
        size: int = 15,
        intensity: float = 0.5,
        strength: float = 2.0,
        range: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        require("kernels", kernels, at_least=1, at_most=64)
        require("strength", strength, at_least=0, at_most=100)
        super().__init__(shape, shape, complex_in=False)
        self.blurs = nn.ModuleList(_motions(shape, seed, kernels, size, intensity))
        self.smooth = Blur(gaussian_kernel(size / 4, size), (1, *shape[1:]), padding="reflect")
        self.centre, self.width = centre_and_half(range, "NonlinearBlur")
        self.strength = strength
        noise, _ = streams(seed, 1)
        nodes, slopes = (noise.like(torch.empty(1, kernels, n, n, dtype=torch.float32)) for n in (NODES, 1))
        self.register_buffer("field", interpolate(nodes, shape[1:], mode="bicubic"), persistent=False)
        self.register_buffer("slopes", slopes, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        blurred = torch.stack([blur(x) for blur in self.blurs], 1)  # (B, J, C, H, W)
        return (self.weights(x)[:, :, None] * blurred).sum(1)

    def weights(self, x: Tensor) -> Tensor:
        """w, (B, J, H, W), the share of every kernel at every pixel."""
        brightness = self.smooth((x.mean(1, keepdim=True) - self.centre) / self.width)
        return torch.softmax(self.field + self.strength * self.slopes * brightness, 1)


def _motions(shape: Shape, seed: int, kernels: int, size: int, intensity: float) -> list[Blur]:
    return [Blur(motion_kernel(size, intensity, mix(seed, j)), shape, padding="reflect") for j in range(kernels)]
