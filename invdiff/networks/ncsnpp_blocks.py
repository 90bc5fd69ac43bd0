"""Layers of NCSN++ and DDPM++ under the tensor names of their first release: `GroupNorm_0`, `Conv_0`, `Dense_0`, ...

Source: Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021, appendix H.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invdiff.networks.edm_blocks import Conv, norm

EPS = 1e-6


class FourierFeatures(nn.Module):
    """(sin 2 pi w_i c, cos 2 pi w_i c) with stored random frequencies w, which were not trained."""

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(frequencies), requires_grad=False)

    def forward(self, c: Tensor) -> Tensor:
        phase = 2 * math.pi * c[:, None] * self.W
        return torch.cat([phase.sin(), phase.cos()], 1)


def time_features(time: Tensor, width: int) -> Tensor:
    """(sin w_i t, cos w_i t) with w_i = 10000^(-i / (width / 2 - 1))."""
    ramp = torch.arange(width // 2, dtype=torch.float32, device=time.device) / (width // 2 - 1)
    phase = time[:, None] * 10000**-ramp
    return torch.cat([phase.sin(), phase.cos()], 1)


class Dense(nn.Module):
    """A 1x1 convolution stored as a matrix (in, out)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(channels_in, channels_out) / channels_in**0.5)
        self.b = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.W.T[:, :, None, None], self.b)


class Residual(nn.Module):
    """x -> scale (skip(x) + conv(silu(norm(conv(silu(norm(x))) + noise)))), resampled by the filter `taps` on the way.

    Args:
        dense: the skip, where there is one, is a matrix ("ddpm" blocks) instead of a convolution ("biggan" blocks).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding: int,
        scale: float,
        *,
        taps: tuple[float, ...] = (),
        up: bool = False,
        down: bool = False,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.GroupNorm_0 = norm(channels_in, EPS)
        self.Conv_0 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.Dense_0 = nn.Linear(embedding, channels_out)
        self.GroupNorm_1 = norm(channels_out, EPS)
        self.Conv_1 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.resample: nn.Module = nn.Identity()
        if up or down:
            self.resample = Conv(channels_in, channels_in, 0, up=up, down=down, taps=taps, stored=False)
        self.skip = ""
        if dense and channels_in != channels_out:
            self.skip, self.NIN_0 = "NIN_0", Dense(channels_in, channels_out)
        elif channels_in != channels_out or up or down:
            self.skip, self.Conv_2 = "Conv_2", nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.Conv_0(self.resample(F.silu(self.GroupNorm_0(x))))
        h = h + self.Dense_0(F.silu(embedding))[:, :, None, None]
        h = self.Conv_1(F.silu(self.GroupNorm_1(h)))
        x = self.resample(x)
        return self.scale * (h + (self.get_submodule(self.skip)(x) if self.skip else x))


class Attention(nn.Module):
    """x -> scale (x + out(softmax(q k^T / sqrt(C)) v)), one head over all pixels."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.GroupNorm_0 = norm(channels, EPS)
        self.NIN_0, self.NIN_1 = Dense(channels, channels), Dense(channels, channels)
        self.NIN_2, self.NIN_3 = Dense(channels, channels), Dense(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.GroupNorm_0(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.NIN_0, self.NIN_1, self.NIN_2))
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return self.scale * (x + self.NIN_3(out))


class Halve(nn.Module):
    """A 3x3 convolution of stride two whose padding is one row below and one column to the right."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.Conv_0 = nn.Conv2d(channels_in, channels_out, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.Conv_0(F.pad(x, (0, 1, 0, 1)))


class HalveSmooth(nn.Module):
    """A 3x3 convolution and the filter `taps`, of which every second pixel is kept."""

    def __init__(self, channels_in: int, channels_out: int, taps: tuple[float, ...]) -> None:
        super().__init__()
        self.Conv2d_0 = Conv(channels_in, channels_out, 3, down=True, taps=taps, first=True, stored=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.Conv2d_0(x)


class Double(nn.Module):
    """Every pixel four times, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Conv_0 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.Conv_0(F.interpolate(x, scale_factor=2, mode="nearest"))


class Combine(nn.Module):
    """A 1x1 convolution of a small copy of the image, to be added."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.Conv_0 = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.Conv_0(x)
