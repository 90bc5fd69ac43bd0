"""U(x), or x + U(x): a U-Net from image to image, for priors that are fitted from a first reconstruction on.

Source: Alkhouri et al., Image Reconstruction via Autoencoding Sequential Deep Image Prior, NeurIPS 2024 (widths).
Differs: on request the input is added to the output and the last convolution begins at zero, so that the untrained
network is the identity and the first iterates are images.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invdiff.networks.generator_blocks import ZeroConv2d, convolve
from invdiff.networks.padding import pad


class ImageUNet(nn.Module):
    """g(x) of the shape of x, (B, channels, H, W), any H, W (padded by reflection inside).

    Args:
        widths: channels per scale, each of half the resolution of the one before.
        residual: whether the input is added. Not where the input fits the data already (a noisy image to be denoised):
            there the identity has nothing left to learn.
    """

    def __init__(
        self, channels: int = 1, widths: tuple[int, ...] = (64, 128, 256, 256), residual: bool = False
    ) -> None:
        super().__init__()
        self.residual = residual
        self.multiple = 2 ** (len(widths) - 1)
        self.head = nn.Sequential(convolve(channels, widths[0]), convolve(widths[0], widths[0]))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList([nn.Sequential(convolve(a, b), convolve(b, b)) for a, b in pairs])
        self.up = nn.ModuleList([nn.Sequential(convolve(a + b, a), convolve(a, a)) for a, b in pairs])
        self.tail = (ZeroConv2d if residual else nn.Conv2d)(widths[0], channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        kept = [self.head(pad(x, self.multiple))]
        for stage in self.down:
            kept.append(stage(F.avg_pool2d(kept[-1], 2)))
        deep = kept.pop()
        for stage in reversed(self.up):
            deep = stage(torch.cat([kept.pop(), F.interpolate(deep, scale_factor=2, mode="bilinear")], 1))
        out: Tensor = self.tail(deep)[..., :height, :width]
        return x + out if self.residual else out
