"""The deep decoder: 1x1 convolutions and bilinear upsampling alone, from a coarse fixed input to an image.

Source: Heckel and Hand, Deep Decoder: Concise Image Representations from Untrained Non-convolutional Networks, 2019.
Differs: no sigmoid; any size, the sides being halved and rounded up on the way to the input.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from invdiff.networks.generator_blocks import normalise


class DeepDecoder(nn.Module):
    """g(z), z (B, channels, h, w) to (B, out_channels, H, W), with (h, w) as `sizes[0]` and (H, W) the shape asked for.

    Args:
        shape: (H, W).
        channels: of every layer. blocks: upsamplings.
    """

    def __init__(
        self, out_channels: int = 1, shape: tuple[int, int] = (256, 256), channels: int = 128, blocks: int = 5
    ) -> None:
        super().__init__()
        height, width = shape
        self.sizes = [(-(-height // 2**k), -(-width // 2**k)) for k in range(blocks, -1, -1)]
        self.mix = nn.ModuleList([nn.Conv2d(channels, channels, 1, bias=False) for _ in range(blocks + 1)])
        self.norm = nn.ModuleList([normalise(channels) for _ in range(blocks + 1)])
        self.tail = nn.Conv2d(channels, out_channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = z
        for i, (mix, norm) in enumerate(zip(self.mix, self.norm, strict=True)):
            x = mix(x)
            if i + 1 < len(self.sizes):
                x = F.interpolate(x, size=self.sizes[i + 1], mode="bilinear")
            x = norm(F.relu(x))
        out: Tensor = self.tail(x)
        return out
