"""Encoder and decoder of the EDM networks: levels of residual blocks, named by their resolution.

Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, appendix F.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from invdiff.networks.edm_blocks import Block, Conv, Style

LevelNames = tuple[str, ...]


def level_names(size: Sequence[int], levels: int) -> LevelNames:
    """What tensor names call the levels of a network made for images of `size` (H, W)."""
    return tuple("x".join(str(n >> level) for n in size) for level in range(levels))


class Levels(nn.Module):
    """Encoder and decoder that both families share: per level a resampling block and `blocks` residual blocks."""

    middle_attention = True  # in the first block of the decoder

    def __init__(
        self, *, in_channels: int, size: Sequence[int], first: int, widths: Sequence[int], blocks: int, embedding: int
    ) -> None:
        super().__init__()
        if not widths or blocks < 1:
            raise ValueError(f"a network needs at least one level and one block, got {list(widths)} and {blocks}.")
        self.names, self.blocks = level_names(size, len(widths)), blocks
        self.in_channels, self.first, self.widths, self.embedding = in_channels, first, tuple(widths), embedding
        self.multiple = 2 ** (len(widths) - 1)

    def build(self, style: Style, inside: frozenset[int], decoding: frozenset[tuple[int, int]]) -> None:
        """Make the layers; attention in encoder levels `inside` and in the (level, block) `decoding` of the decoder."""
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        at, skips = self.first, [self.first]
        for level, (name, width) in enumerate(zip(self.names, self.widths, strict=True)):
            if level == 0:
                self.enc[f"{name}_conv"] = Conv(self.in_channels, at, 3)
            else:
                self.enc[f"{name}_down"] = Block(at, at, self.embedding, style, down=True)
                self.add_input(name, at)
                skips.append(at)
            for i in range(self.blocks):
                attention = level in inside
                self.enc[f"{name}_block{i}"] = Block(at, width, self.embedding, style, attention=attention)
                at = width
                skips.append(at)
        for level in reversed(range(len(self.widths))):
            name, width = self.names[level], self.widths[level]
            for key, options in self._entry(level).items():
                self.dec[f"{name}_{key}"] = Block(at, at, self.embedding, style, **options)
            for i in range(self.blocks + 1):
                attention = (level, i) in decoding
                wide = at + skips.pop()
                self.dec[f"{name}_block{i}"] = Block(wide, width, self.embedding, style, attention=attention)
                at = width
            self.add_output(level, name, at)

    def _entry(self, level: int) -> dict[str, dict[str, bool]]:
        if level == len(self.widths) - 1:
            return {"in0": {"attention": self.middle_attention}, "in1": {}}
        return {"up": {"up": True}}

    def add_input(self, name: str, width: int) -> None:
        """Make what brings a small copy of the image into level `name`."""

    def add_output(self, level: int, name: str, width: int) -> None:
        """Make what reads the output off level `name`."""

    def inject(self, name: str, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Activations and image after the image's entry into level `name`."""
        return x, image

    def encode(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        """The activations that the decoder takes, the deepest last."""
        image, skips = x, []
        for level, name in enumerate(self.names):
            if level == 0:
                x = self.enc[f"{name}_conv"](x)
            else:
                x, image = self.inject(name, self.enc[f"{name}_down"](x, embedding), image)
            skips.append(x)
            for i in range(self.blocks):
                x = self.enc[f"{name}_block{i}"](x, embedding)
                skips.append(x)
        return skips

    def decode(self, skips: list[Tensor], embedding: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The activations at the end of each level, the deepest first."""
        x = skips[-1]
        for level in reversed(range(len(self.names))):
            name = self.names[level]
            for key in self._entry(level):
                x = self.dec[f"{name}_{key}"](x, embedding)
            for i in range(self.blocks + 1):
                x = self.dec[f"{name}_block{i}"](torch.cat([x, skips.pop()], 1), embedding)
            yield name, x
