"""The parts of the guided-diffusion U-Net; module names are those of the published checkpoints.

Source: Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, section 3; Ho et al., Denoising
Diffusion Probabilistic Models, 2020, appendix B; Nichol and Dhariwal, Improved DDPM, 2021 (scale and shift).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QKV = Literal["legacy", "new"]


class Block(nn.Module):
    """skip(x) + conv(silu(norm(conv(silu(norm(x)))))), the embedding added between, or scaling and shifting.

    Args:
        resample: factor by which the block also changes the resolution (0.5, 1 or 2).
    """

    def __init__(self, c_in: int, c_out: int, embedding: int, scale_shift: bool, resample: float = 1) -> None:
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.in_layers = nn.Sequential(nn.GroupNorm(32, c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, (1 + scale_shift) * c_out))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, c_out), nn.SiLU(), nn.Identity(), nn.Conv2d(c_out, c_out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        norm, activation, conv = self.in_layers
        h = conv(resized(activation(norm(x)), self.resample))
        change = self.emb_layers(embedding)[:, :, None, None]
        norm, *rest = self.out_layers
        if self.scale_shift:
            scale, shift = change.chunk(2, 1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + change)
        for layer in rest:
            h = layer(h)
        return self.skip_connection(resized(x, self.resample)) + h


class Attention(nn.Module):
    """x + proj(softmax(q k^T / sqrt(d)) v), over all pixels.

    Args:
        qkv_order: "legacy": the channels are (q, k, v) of one head after the other; "new": q of all heads, then k, v.
    """

    def __init__(self, channels: int, heads: int, qkv_order: QKV) -> None:
        super().__init__()
        self.heads, self.qkv_order = heads, qkv_order
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        flat = x.flatten(2)
        heads = (self.heads, 3) if self.qkv_order == "legacy" else (3, self.heads)
        parts = self.qkv(self.norm(flat)).unflatten(1, (*heads, -1))  # (B, heads, 3, d, HW) or (B, 3, heads, d, HW)
        q, k, v = (t.mT for t in parts.unbind(2 if self.qkv_order == "legacy" else 1))
        h = F.scaled_dot_product_attention(q, k, v).mT.flatten(1, 2)
        return x + self.proj_out(h).view_as(x)


class Downsample(nn.Module):
    """Half the resolution, by a strided convolution or the mean of 2 x 2 pixels."""

    def __init__(self, channels: int, conv: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if conv else nn.AvgPool2d(2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Twice the resolution by repetition, then a convolution or nothing."""

    def __init__(self, channels: int, conv: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if conv else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(resized(x, 2))


def time_features(t: Tensor, width: int) -> Tensor:
    """(cos(w_k t), sin(w_k t)) with w_k = 10000^(-k / (width/2)), (B, width); float32 at least."""
    half = width // 2
    k = torch.arange(half, dtype=torch.promote_types(t.dtype, torch.float32), device=t.device)
    phase = t[:, None] * torch.exp(-math.log(10000) * k / half)
    return F.pad(torch.cat([phase.cos(), phase.sin()], 1), (0, width % 2))


def resized(x: Tensor, factor: float) -> Tensor:
    """Means of 2 x 2 pixels (0.5), x itself (1), or each pixel four times (2)."""
    if factor == 1:
        return x
    return F.avg_pool2d(x, 2) if factor < 1 else F.interpolate(x, scale_factor=2, mode="nearest")
