"""Layers of the EDM networks: f * x resampling, residual blocks modulated by the noise level, self-attention.

The tensors are named and shaped as in published files (`conv0.weight`, `conv0.resample_filter`, `affine.bias`, ...).

Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, appendix F; Song et al.,
Score-Based Generative Modeling through SDEs, 2021, appendix H; Dhariwal and Nichol, Diffusion Models Beat GANs, 2021.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Style(NamedTuple):
    """What tells the two families of blocks apart.

    Attributes:
        taps: the resampling filter along one axis; (1, 1) averages pairs, (1, 3, 3, 1) is smoother.
        scale: factor on every residual sum.
        eps: of the group normalisations inside blocks.
        adaptive: the noise level scales and shifts the normalised activations, instead of adding to them before.
        project: resampling blocks have a 1x1 convolution on their skip even where the width stays.
        head_width: channels per attention head; None takes all in one head.
    """

    taps: tuple[float, ...]
    scale: float
    eps: float
    adaptive: bool
    project: bool
    head_width: int | None


def norm(channels: int, eps: float) -> nn.GroupNorm:
    """Group normalisation with 32 groups, fewer where a group would have less than four channels."""
    return nn.GroupNorm(max(1, min(32, channels // 4)), channels, eps)


class NoiseFeatures(nn.Module):
    """(cos w_i c, sin w_i c) of the noise level c.

    Args:
        width: number of features, two per frequency.
        fourier: w_i are random and stored in the file; otherwise w_i = 10000^(-i / steps).
        steps: of the geometric row; published networks use width / 2 (ADM) and width / 2 - 1 (DDPM++).
    """

    freqs: Tensor

    def __init__(self, width: int, *, fourier: bool, steps: int) -> None:
        super().__init__()
        ramp = torch.arange(width // 2, dtype=torch.float32)
        row = torch.zeros_like(ramp) if fourier else 10000 ** (-ramp / max(steps, 1))
        self.turn = 2 * math.pi if fourier else 1.0
        self.register_buffer("freqs", row, persistent=fourier)

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        phase = noise[:, None] * (self.turn * self.freqs)
        return phase.cos(), phase.sin()


class Conv(nn.Module):
    """w * x + b, with the resolution halved or doubled by the filter f on the way.

    Args:
        kernel: side of w; 0 resamples only.
        first: when halving, convolve with w before f instead of after it. This differs at the image border only.
        stored: whether files hold the filter.
    """

    resample_filter: Tensor

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        up: bool = False,
        down: bool = False,
        taps: tuple[float, ...] = (1, 1),
        first: bool = False,
        stored: bool = True,
    ) -> None:
        super().__init__()
        self.up, self.down, self.kernel, self.first = up, down, kernel, first
        if kernel:
            weight = torch.randn(channels_out, channels_in, kernel, kernel) / (channels_in * kernel**2) ** 0.5
            self.weight, self.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(channels_out))
        if up or down:
            row = torch.tensor(taps, dtype=torch.float32)
            kernel_2d = torch.outer(row, row)[None, None] / row.sum() ** 2
            self.register_buffer("resample_filter", kernel_2d, persistent=stored)

    def forward(self, x: Tensor) -> Tensor:
        margin = (self.resample_filter.shape[-1] - 1) // 2 if self.up or self.down else 0
        if self.first:
            return self._filter(self._convolve(x, margin), 0)
        if self.up or self.down:
            x = self._filter(x, margin)
        return self._convolve(x, 0) if self.kernel else x

    def _convolve(self, x: Tensor, margin: int) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.kernel // 2 + margin)

    def _filter(self, x: Tensor, padding: int) -> Tensor:
        channels = x.shape[1]
        f = self.resample_filter.expand(channels, -1, -1, -1)
        if self.up:
            return F.conv_transpose2d(x, 4 * f, stride=2, padding=padding, groups=channels)
        return F.conv2d(x, f, stride=2, padding=padding, groups=channels)


class Block(nn.Module):
    """x -> scale (skip(x) + conv1(h)), h = silu(norm1(conv0(silu(norm0(x))) + noise)); then attention where asked."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        embedding: int,
        style: Style,
        *,
        up: bool = False,
        down: bool = False,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.style, self.attention = style, attention
        resample = {"up": up, "down": down, "taps": style.taps}
        self.norm0 = norm(channels_in, style.eps)
        self.conv0 = Conv(channels_in, channels_out, 3, **resample)  # type: ignore[arg-type]
        self.affine = nn.Linear(embedding, channels_out * (2 if style.adaptive else 1))
        self.norm1 = norm(channels_out, style.eps)
        self.conv1 = Conv(channels_out, channels_out, 3)
        widened = channels_in != channels_out
        if widened or up or down:
            kernel = int(widened or style.project)
            self.skip: Conv | None = Conv(channels_in, channels_out, kernel, **resample)  # type: ignore[arg-type]
        else:
            self.skip = None
        if attention:
            self.heads = max(1, channels_out // (style.head_width or channels_out))
            self.norm2 = norm(channels_out, style.eps)
            self.qkv = Conv(channels_out, 3 * channels_out, 1)
            self.proj = Conv(channels_out, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        noise = self.affine(embedding)[:, :, None, None]
        if self.style.adaptive:
            gain, shift = noise.chunk(2, 1)
            h = (1 + gain) * self.norm1(h) + shift
        else:
            h = self.norm1(h + noise)
        x = x if self.skip is None else self.skip(x)
        x = self.style.scale * (x + self.conv1(F.silu(h)))
        return self.style.scale * (x + self._attend(x)) if self.attention else x

    def _attend(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm2(x)).view(batch, self.heads, channels // self.heads, 3, height * width)
        q, k, v = qkv.permute(3, 0, 1, 4, 2)  # each (batch, head, pixel, channel)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(2, 3).reshape(x.shape))
