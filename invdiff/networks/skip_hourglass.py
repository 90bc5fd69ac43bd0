"""The hour-glass of the deep image prior: down, up, and at each scale a few channels that skip what lies below.

Source: Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018, supplement (128 channels, 4 skipped).
Differs: no sigmoid unless asked, since images of a scan have no known range.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invdiff.networks.generator_blocks import convolve, normalise
from invdiff.networks.padding import pad


class SkipHourglass(nn.Module):
    """g(z), z (B, in_channels, H, W) to (B, out_channels, H, W), any H, W (padded by reflection inside).

    Args:
        channels: of each scale, each of half the resolution of the one before.
        skipped: channels that skip the coarser scales.
        sigmoid: whether the output is in (0, 1).
    """

    def __init__(
        self,
        in_channels: int = 32,
        out_channels: int = 1,
        channels: tuple[int, ...] = (128, 128, 128, 128, 128),
        skipped: int = 4,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        inputs = (in_channels, *channels[:-1])
        below = (*channels[1:], channels[-1])  # what comes up from the next scale
        self.multiple, self.sigmoid = 2 ** len(channels), sigmoid
        self.skip = nn.ModuleList([convolve(a, skipped, 1) for a in inputs])
        self.down = nn.ModuleList(
            [nn.Sequential(convolve(a, c, 3, 2), convolve(c, c)) for a, c in zip(inputs, channels, strict=True)]
        )
        self.up = nn.ModuleList(
            [
                nn.Sequential(normalise(skipped + b), convolve(skipped + b, c), convolve(c, c, 1))
                for b, c in zip(below, channels, strict=True)
            ]
        )
        self.tail = nn.Conv2d(channels[0], out_channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        height, width = z.shape[-2:]
        out = self.tail(self._scale(0, pad(z, self.multiple)))[..., :height, :width]
        return out.sigmoid() if self.sigmoid else out

    def _scale(self, i: int, x: Tensor) -> Tensor:
        deep = self.down[i](x)
        if i + 1 < len(self.down):
            deep = self._scale(i + 1, deep)
        deep = F.interpolate(deep, scale_factor=2, mode="bilinear")
        out: Tensor = self.up[i](torch.cat([self.skip[i](x), deep], 1))
        return out
