"""The U-Net of guided diffusion: x_t, t -> eps (and a variance), with residual blocks, attention and a time embedding.

Module names are those of the published checkpoints, so that their tensors load by name.

Source: Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, section 3.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from invdiff.networks.guided_blocks import QKV, Attention, Block, Downsample, Upsample, time_features

Resampling = Literal["residual", "conv", "plain"]


class GuidedUNet(nn.Module):
    """The network of guided-diffusion checkpoints; all channel counts are multiples of 32.

    Args:
        in_channels, out_channels: of the image; out is twice in where a variance is learned.
        base: width of the time features.
        widths: channels per level; each level halves the resolution.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: levels with attention, 0 the finest.
        heads: attention heads, or None for heads of `head_width` channels.
        head_width: channels per head.
        qkv_order: see `Attention`.
        scale_shift: whether the time embedding scales and shifts (adaptive group normalisation) or is added.
        resampling: "residual": by residual blocks; "conv": by a convolution; "plain": without weights.
        classes: of a class-conditional network, 0 otherwise.
        label: the class to denoise for; needed where there are classes.

    Shapes: x (B, in_channels, H, W) with H, W multiples of `multiple`, t (B,), fractions allowed; returns
    (B, out_channels, H, W).
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 6,
        base: int = 128,
        widths: Sequence[int] = (128, 128, 256, 256, 512, 512),
        blocks: int = 1,
        attention: Sequence[int] = (4,),
        heads: int | None = None,
        head_width: int = 64,
        qkv_order: QKV = "legacy",
        scale_shift: bool = True,
        resampling: Resampling = "residual",
        classes: int = 0,
        label: int | None = None,
    ) -> None:
        super().__init__()
        _check(qkv_order, resampling, classes, label)
        self.config = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "base": base,
            "widths": list(widths),
            "blocks": blocks,
            "attention": list(attention),
            "heads": heads,
            "head_width": head_width,
            "qkv_order": qkv_order,
            "scale_shift": scale_shift,
            "resampling": resampling,
            "classes": classes,
            "label": label,
        }
        self.in_channels, self.out_channels = in_channels, out_channels
        self.base, self.multiple, self.label = base, 2 ** (len(widths) - 1), label
        self._embedding, self._scale_shift, self._resampling = 4 * base, scale_shift, resampling
        self._heads, self._head_width, self._qkv_order = heads, head_width, qkv_order
        width = self._embedding
        self.time_embed = nn.Sequential(nn.Linear(base, width), nn.SiLU(), nn.Linear(width, width))
        if classes:
            self.label_emb = nn.Embedding(classes, width)
        down, skips = self._down(in_channels, widths, blocks, attention)
        self.input_blocks = nn.ModuleList(down)
        self.middle_block = nn.ModuleList(
            [self._block(widths[-1], widths[-1]), self._attention(widths[-1]), self._block(widths[-1], widths[-1])]
        )
        self.output_blocks = nn.ModuleList(self._up(skips, widths, blocks, attention))
        self.out = nn.Sequential(
            nn.GroupNorm(32, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.time_embed(time_features(t, self.base).to(x.dtype))
        if self.label is not None:
            embedding = embedding + self.label_emb.weight[self.label]
        skips = []
        for stage in self.input_blocks:
            x = _run(stage, x, embedding)
            skips.append(x)
        x = _run(self.middle_block, x, embedding)
        for stage in self.output_blocks:
            x = _run(stage, torch.cat([x, skips.pop()], 1), embedding)
        return self.out(x)

    def _down(
        self, channels: int, widths: Sequence[int], blocks: int, attention: Sequence[int]
    ) -> tuple[list[nn.Module], list[int]]:
        """The way down, and the channels after each of its steps."""
        stages: list[nn.Module] = [nn.ModuleList([nn.Conv2d(channels, widths[0], 3, padding=1)])]
        skips = [widths[0]]
        for level, width in enumerate(widths):
            for _ in range(blocks):
                stages.append(self._stage(skips[-1], width, level in attention))
                skips.append(width)
            if level + 1 < len(widths):
                stages.append(nn.ModuleList([self._change(width, 0.5)]))
                skips.append(width)
        return stages, skips

    def _up(
        self, skips: list[int], widths: Sequence[int], blocks: int, attention: Sequence[int]
    ) -> Iterable[nn.Module]:
        skips, channels = list(skips), widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            for i in range(blocks + 1):
                stage = self._stage(channels + skips.pop(), width, level in attention)
                if level and i == blocks:
                    stage.append(self._change(width, 2))
                yield stage
                channels = width

    def _stage(self, c_in: int, c_out: int, attention: bool) -> nn.ModuleList:
        return nn.ModuleList([self._block(c_in, c_out), *([self._attention(c_out)] if attention else [])])

    def _block(self, c_in: int, c_out: int, resample: float = 1) -> Block:
        return Block(c_in, c_out, self._embedding, self._scale_shift, resample)

    def _change(self, channels: int, factor: float) -> nn.Module:
        if self._resampling == "residual":
            return self._block(channels, channels, factor)
        return (Downsample if factor < 1 else Upsample)(channels, self._resampling == "conv")

    def _attention(self, channels: int) -> Attention:
        heads = self._heads or channels // self._head_width
        if not heads or channels % heads or (self._heads is None and channels % self._head_width):
            wanted = f"{self._heads} heads" if self._heads else f"heads of {self._head_width} channels"
            raise ValueError(f"{channels} channels do not divide into {wanted}; pass heads or head_width.")
        return Attention(channels, heads, self._qkv_order)


def _run(stage: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
    for layer in stage:  # type: ignore[attr-defined]
        x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, embedding)
    return x


def _check(qkv_order: str, resampling: str, classes: int, label: int | None) -> None:
    for name, value, known in (
        ("qkv_order", qkv_order, get_args(QKV)),
        ("resampling", resampling, get_args(Resampling)),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}.")
    if classes and (label is None or not 0 <= label < classes):
        raise ValueError(f"a network for {classes} classes needs label, 0 to {classes - 1}, got {label}.")
    if label is not None and not classes:
        raise ValueError("label is for class-conditional networks; this one has no classes.")
