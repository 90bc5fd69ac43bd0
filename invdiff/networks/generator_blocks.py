"""act(norm(conv(x))): what networks that are fitted to one scan are made of.

Each sample is normalised by itself over its pixels. For the one image that such a network is fitted to, this is batch
normalisation in training, without running averages and without samples meeting.
"""

from torch import nn

SMALLEST = 4  # pixels that a side keeps at the coarsest scale, so that padding by reflection and normalisation can work


def convolve(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution with padding by reflection, normalisation per sample, LeakyReLU of slope 0.2."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, padding_mode="reflect" if kernel > 1 else "zeros")
    return nn.Sequential(conv, normalise(out), nn.LeakyReLU(0.2))


class ZeroConv2d(nn.Conv2d):
    """A convolution whose first parameters are 0, however they are drawn."""

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


def normalise(channels: int) -> nn.InstanceNorm2d:
    """(x - mean) / std * weight + bias, over the pixels of each channel and sample."""
    return nn.InstanceNorm2d(channels, affine=True)


def scales(height: int, width: int, most: int) -> int:
    """How often an image can be halved before a side is below `SMALLEST`, at most `most` times and at least once."""
    count = 0
    while count < most and min(height, width) >= SMALLEST << (count + 1):
        count += 1
    return max(count, 1)
