"""NCSN++ and DDPM++ in their first release: x -> s(x, sigma), the VE score, or eps(x_t, t).

All layers lie in one numbered list, `all_modules.N`, in the order of their use. `invdiff.networks.ncsnpp_config` finds
the arguments of a network from it.

Source: Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021, appendix H.

Differs: attention belongs to a level, whatever the size of the image that is passed. Not covered: the outputs of all
levels as a residual sum, small copies of the image that are concatenated, networks without noise conditioning.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invdiff.networks.edm_blocks import Conv, norm
from invdiff.networks.ncsnpp_blocks import (
    EPS,
    Attention,
    Combine,
    Double,
    FourierFeatures,
    Halve,
    HalveSmooth,
    Residual,
    time_features,
)
from invdiff.shapes import over

CHOICES = {
    "noise": ("fourier", "positional"),
    "block": ("biggan", "ddpm"),
    "progressive_input": ("none", "residual", "skip"),
    "progressive": ("none", "skip"),
}


class NCSNpp(nn.Module):
    """The network.

    Args:
        channels: of image in and out.
        first: width of the first convolution (`nf`).
        widths: channels per level.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: levels with self-attention, 0 the finest.
        noise: "fourier", the network is given sigma and looks at random features of ln(sigma) (VE);
            "positional", it is given the time t (VP).
        block: "biggan" blocks resample inside, "ddpm" blocks do not.
        progressive_input: how smaller copies of the image enter: "none", "residual" (summed) or "skip" (1x1 convolved).
        progressive: "skip" adds outputs of all levels.
        taps: resampling filter; (1, 1) where the release has `fir = False`.
        skip_rescale: whether residual sums are divided by sqrt(2).
        scale_by_sigma: whether the output is divided by sigma; by default where the network is given sigma.
        centered: whether the images it is given lie in [-1, 1] instead of [0, 1]; by default where it is given t.

    Shapes: x (B, channels, H, W) with H and W multiples of `multiple`, noise (B,); returns the shape of x.
    """

    def __init__(
        self,
        *,
        channels: int,
        first: int,
        widths: Sequence[int],
        blocks: int = 4,
        attention: Sequence[int] = (),
        noise: Literal["fourier", "positional"] = "fourier",
        block: Literal["biggan", "ddpm"] = "biggan",
        progressive_input: Literal["none", "residual", "skip"] = "residual",
        progressive: Literal["none", "skip"] = "none",
        taps: Sequence[float] = (1, 3, 3, 1),
        skip_rescale: bool = True,
        scale_by_sigma: bool | None = None,
        centered: bool | None = None,
    ) -> None:
        super().__init__()
        given = {"noise": noise, "block": block, "progressive_input": progressive_input, "progressive": progressive}
        for name, value in given.items():
            if value not in CHOICES[name]:
                raise ValueError(f"{name} must be one of {', '.join(CHOICES[name])}, got {value!r}.")
        self.channels, self.first, self.widths, self.blocks = channels, first, tuple(widths), blocks
        self.attention, self.noise, self.block, self.taps = frozenset(attention), noise, block, tuple(taps)
        self.progressive_input, self.progressive = progressive_input, progressive
        self.scale = math.sqrt(0.5) if skip_rescale else 1.0
        self.scale_by_sigma = noise == "fourier" if scale_by_sigma is None else scale_by_sigma
        self.centered = noise == "positional" if centered is None else centered
        if self.scale_by_sigma and noise == "positional":
            raise ValueError("scale_by_sigma needs the network to be given sigma: noise='fourier'.")
        self.config = {
            **given,
            "channels": channels,
            "first": first,
            "widths": list(widths),
            "blocks": blocks,
            "attention": list(attention),
            "taps": list(taps),
            "skip_rescale": skip_rescale,
            "scale_by_sigma": self.scale_by_sigma,
            "centered": self.centered,
        }
        self.multiple = 2 ** (len(self.widths) - 1)
        self.shrink = Conv(channels, channels, 0, down=True, taps=self.taps, stored=False)
        self.grow = Conv(channels, channels, 0, up=True, taps=self.taps, stored=False)
        self.all_modules = nn.ModuleList([*self._noise_layers(), *self._encoder(), *self._decoder()])

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        layers = iter(self.all_modules)
        embedding = next(layers)(noise.log()) if self.noise == "fourier" else time_features(noise, self.first)
        embedding = next(layers)(embedding)
        embedding = next(layers)(F.silu(embedding))
        kept = self._encode(x if self.centered else 2 * x - 1, embedding, layers)
        out = self._decode(kept, embedding, layers)
        return out / over(noise, out) if self.scale_by_sigma else out

    def _encode(self, x: Tensor, embedding: Tensor, layers: Iterator[nn.Module]) -> list[Tensor]:
        """What the decoder takes; the last is where it starts."""
        h, image = next(layers)(x), x
        kept = [h]
        for level in range(len(self.widths)):
            for _ in range(self.blocks):
                h = next(layers)(h, embedding)
                h = next(layers)(h) if level in self.attention else h
                kept.append(h)
            if level < len(self.widths) - 1:
                h, image = self._inject(self._resampled(h, embedding, layers), image, layers)
                kept.append(h)
        return kept

    def _inject(self, h: Tensor, image: Tensor, layers: Iterator[nn.Module]) -> tuple[Tensor, Tensor]:
        """Activations and image after a smaller copy of the image has come in."""
        if self.progressive_input == "residual":
            h = self.scale * (next(layers)(image) + h)
            return h, h
        if self.progressive_input == "skip":
            image = self.shrink(image)
            return next(layers)(image) + h, image
        return h, image

    def _decode(self, kept: list[Tensor], embedding: Tensor, layers: Iterator[nn.Module]) -> Tensor:
        h = next(layers)(kept[-1], embedding)
        h = next(layers)(h)
        h = next(layers)(h, embedding)
        out: Tensor | None = None
        for level in reversed(range(len(self.widths))):
            for _ in range(self.blocks + 1):
                h = next(layers)(torch.cat([h, kept.pop()], 1), embedding)
            h = next(layers)(h) if level in self.attention else h
            if self.progressive == "skip":
                grown = 0 if out is None else self.grow(out)
                out = _read(h, layers) + grown
            h = self._resampled(h, embedding, layers) if level else h
        return _read(h, layers) if out is None else out

    def _resampled(self, h: Tensor, embedding: Tensor, layers: Iterator[nn.Module]) -> Tensor:
        return next(layers)(h, embedding) if self.block == "biggan" else next(layers)(h)

    def _noise_layers(self) -> Iterator[nn.Module]:
        if self.noise == "fourier":
            yield FourierFeatures(self.first)
        yield nn.Linear(self.first * (2 if self.noise == "fourier" else 1), 4 * self.first)
        yield nn.Linear(4 * self.first, 4 * self.first)

    def _encoder(self) -> Iterator[nn.Module]:
        yield nn.Conv2d(self.channels, self.first, 3, padding=1)
        at, image = self.first, self.channels
        for level, width in enumerate(self.widths):
            for _ in range(self.blocks):
                yield self._residual(at, width)
                at = width
                if level in self.attention:
                    yield Attention(at, self.scale)
            if level < len(self.widths) - 1:
                yield self._residual(at, at, down=True) if self.block == "biggan" else Halve(at, at)
                yield from self._image_layers(image, at)
                image = at if self.progressive_input == "residual" else image

    def _image_layers(self, image: int, width: int) -> Iterator[nn.Module]:
        if self.progressive_input == "residual":
            yield HalveSmooth(image, width, self.taps) if len(self.taps) > 2 else Halve(image, width)
        elif self.progressive_input == "skip":
            yield Combine(image, width)

    def _decoder(self) -> Iterator[nn.Module]:
        at = self.widths[-1]
        yield self._residual(at, at)
        yield Attention(at, self.scale)
        yield self._residual(at, at)
        kept = self._kept()
        for level in reversed(range(len(self.widths))):
            for _ in range(self.blocks + 1):
                yield self._residual(at + kept.pop(), self.widths[level])
                at = self.widths[level]
            if level in self.attention:
                yield Attention(at, self.scale)
            if self.progressive == "skip" or level == 0:
                yield norm(at, EPS)
                yield nn.Conv2d(at, self.channels, 3, padding=1)
            if level:
                yield self._residual(at, at, up=True) if self.block == "biggan" else Double(at)

    def _kept(self) -> list[int]:
        """Widths of what the encoder keeps for the decoder."""
        widths = [self.first]
        for level, width in enumerate(self.widths):
            widths += [width] * (self.blocks + (level < len(self.widths) - 1))
        return widths

    def _residual(self, a: int, b: int, up: bool = False, down: bool = False) -> Residual:
        return Residual(a, b, 4 * self.first, self.scale, taps=self.taps, up=up, down=down, dense=self.block == "ddpm")


def _read(h: Tensor, layers: Iterator[nn.Module]) -> Tensor:
    h = F.silu(next(layers)(h))
    return next(layers)(h)
