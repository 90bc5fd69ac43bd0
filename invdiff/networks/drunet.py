"""DRUNet: a norm-free residual U-Net, x -> F(x, c_noise), with an optional space-to-depth stem.

Residual blocks are two 3x3 convolutions and one ReLU, without normalisation and without biases except in the noise
modulation: at this size such networks denoise better than normalised or attention-based ones for equal processor
time, and every layer is a plain convolution, the one thing a CPU does well. On request two more input channels say
where in the image a pixel lies, so that a network trained on crops can tell.

Source: Zhang et al., Plug-and-Play Image Restoration with Deep Denoiser Prior, TPAMI 2021 (architecture);
Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022 (noise input, c_noise);
Wang et al., Patch Diffusion, NeurIPS 2023 (coordinates as channels).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from invdiff.networks.padding import pad


class Block(nn.Module):
    """x + conv(relu((1 + gain) * conv(x))), the gain a linear function of the noise embedding."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.gain = nn.Linear(embedding, channels)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        gain = 1 + self.gain(embedding)[:, :, None, None]
        return x + self.conv2(F.relu(self.conv1(x) * gain))


class DRUNet(nn.Module):
    """The network F of an EDM-preconditioned denoiser.

    Args:
        in_channels, out_channels: channels of image in and out (2 for a complex image).
        widths: channels per level; each level halves the resolution.
        blocks: residual blocks per level, on the way down and on the way up.
        stem: side of the space-to-depth patch (1: full resolution, 2: a quarter of the work).
        embedding: width of the noise embedding.
        coordinates: whether two more input channels take the place of each pixel (see `coordinate_grid`).

    Shapes: x (B, in_channels, H, W) float32 of any H, W (padded by reflection to `multiple`), noise (B,), coordinates
    (B or 1, 2, H, W); returns (B, out_channels, H, W).

    Coordinates of 0, for a sample or (None) for all, mean that its place is not known. The first convolution has no
    bias, so that such channels add nothing at all: the network is then one without coordinates, with the weights of its
    image channels. Training drops them now and then (per sample) in this form.

    Attributes:
        coordinates: as the argument; who evaluates the network looks here whether it wants them.
        checkpointing: whether the insides of stages are computed again in the backward pass instead of kept: less
            memory for about one more forward pass of time, and the same gradients.
    """

    frequencies: Tensor

    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 2,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        blocks: int = 2,
        stem: int = 1,
        embedding: int = 64,
        coordinates: bool = False,
    ) -> None:
        super().__init__()
        self.config = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "widths": list(widths),
            "blocks": blocks,
            "stem": stem,
            "embedding": embedding,
            "coordinates": coordinates,
        }
        self.coordinates, self.checkpointing = coordinates, False
        self.stem, self.multiple = stem, stem * 2 ** (len(widths) - 1)
        self.register_buffer("frequencies", 2.0 ** torch.arange(-3, embedding // 2 - 3).clamp(max=3))
        self.embed = nn.Sequential(nn.Linear(embedding, embedding), nn.ReLU())
        self.head = nn.Conv2d((in_channels + 2 * coordinates) * stem**2, widths[0], 3, padding=1, bias=False)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList([_stage(w, blocks, embedding) for w in widths[:-1]])
        self.shrink = nn.ModuleList([nn.Conv2d(a, b, 2, stride=2, bias=False) for a, b in pairs])
        self.body = _stage(widths[-1], blocks, embedding)
        self.grow = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, stride=2, bias=False) for a, b in pairs])
        self.up = nn.ModuleList([_stage(w, blocks, embedding) for w in widths[:-1]])
        self.tail = nn.Conv2d(widths[0], out_channels * stem**2, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)

    def forward(self, x: Tensor, noise: Tensor, coordinates: Tensor | None = None) -> Tensor:
        height, width = x.shape[-2:]
        x = pad(self._with_coordinates(x, coordinates), self.multiple, "constant")
        phase = noise[:, None] * self.frequencies
        embedding = self.embed(torch.cat([phase.cos(), phase.sin()], 1))
        x = self.head(F.pixel_unshuffle(x, self.stem))
        skips = []
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            x = self._run(stage, x, embedding)
            skips.append(x)
            x = shrink(x)
        x = self._run(self.body, x, embedding)
        for stage, grow, skip in zip(self.up[::-1], self.grow[::-1], reversed(skips), strict=True):
            x = self._run(stage, grow(x) + skip, embedding)
        return F.pixel_shuffle(self.tail(x), self.stem)[..., :height, :width]

    def _with_coordinates(self, x: Tensor, coordinates: Tensor | None) -> Tensor:
        shape = (len(x), 2, *x.shape[2:])
        if not self.coordinates:
            if coordinates is not None:
                raise ValueError("this network was built without coordinates; build it with coordinates=True.")
            return x
        if coordinates is None:
            return torch.cat([x, x.new_zeros(shape)], 1)
        if coordinates.shape[-3:] != shape[1:]:
            raise ValueError(f"coordinates of {tuple(x.shape)} must be {shape}, got {tuple(coordinates.shape)}.")
        return torch.cat([x, coordinates.to(x).expand(shape)], 1)

    def _run(self, stage: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            out: Tensor = checkpoint(_run, stage, x, embedding, use_reentrant=False, preserve_rng_state=False)
            return out
        return _run(stage, x, embedding)


def coordinate_grid(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Where the pixels of a full image lie, (1, 2, height, width) float32: column, then row, of pixel centres.

    The edges of the image are at -1 and 1, as for `torch.nn.functional.affine_grid` with align_corners=False; a crop
    has the values of its place in the full image.
    """
    row, column = (coordinate(torch.arange(n, device=device), n) for n in (height, width))
    return torch.stack([column.expand(height, width), row[:, None].expand(height, width)])[None]


def coordinate(index: Tensor, n: int) -> Tensor:
    """Where pixels of an axis of n lie; those beyond the image are below -1 or above 1."""
    return (2 * index + 1 - n).float() / n


def _stage(width: int, blocks: int, embedding: int) -> nn.ModuleList:
    return nn.ModuleList([Block(width, embedding) for _ in range(blocks)])


def _run(stage: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
    for block in stage:  # type: ignore[attr-defined]
        x = block(x, embedding)
    return x
