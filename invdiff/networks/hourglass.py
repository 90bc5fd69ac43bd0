"""The hour-glass without skips, whose random weights hold a sparse generator of images.

Source: Ghosh et al., Optimal Eye Surgeon: Finding Image Priors through Sparse Generators at Initialization, ICML 2024
(channels, kernels, average pooling, nearest upsampling; 3,008,867 parameters at the published setting).
Differs: no sigmoid unless asked, since images of a scan have no known range.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from invdiff.networks.generator_blocks import convolve, normalise
from invdiff.networks.padding import pad


class Halving(nn.Module):
    """act(norm(mean over 2x2 of conv(x))), with a 5x5 convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv, self.norm, self.act = convolve(channels, out, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.norm(F.avg_pool2d(self.conv(x), 2)))
        return out


class Hourglass(nn.Module):
    """g(z), z (B, in_channels, H, W) to (B, out_channels, H, W), any H, W (padded by reflection inside).

    Args:
        channels: of each scale, each of half the resolution of the one before.
        sigmoid: whether the output is in (0, 1).
    """

    def __init__(
        self,
        in_channels: int = 32,
        out_channels: int = 1,
        channels: tuple[int, ...] = (16, 32, 64, 128, 128, 128),
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        self.config = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "channels": list(channels),
            "sigmoid": sigmoid,
        }
        self.multiple, self.sigmoid = 2 ** len(channels), sigmoid
        inputs, below = (in_channels, *channels[:-1]), (*channels[1:], channels[-1])
        self.widen = nn.ModuleList([Halving(a, c) for a, c in zip(inputs, channels, strict=True)])
        self.refine = nn.ModuleList([convolve(c, c, 5) for c in channels])
        self.up = nn.ModuleList(
            [nn.Sequential(normalise(b), convolve(b, c)) for b, c in zip(below, channels, strict=True)]
        )
        self.tail = nn.Conv2d(channels[0], out_channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        height, width = z.shape[-2:]
        x = pad(z, self.multiple)
        for widen, refine in zip(self.widen, self.refine, strict=True):
            x = refine(widen(x))
        for stage in reversed(self.up):
            x = stage(F.interpolate(x, scale_factor=2, mode="nearest"))
        out: Tensor = self.tail(x)[..., :height, :width]
        return out.sigmoid() if self.sigmoid else out
