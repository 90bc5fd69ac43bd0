"""U-Nets of the EDM family, x -> F(x, c_noise): `SongUNet` (DDPM++, NCSN++) and `DhariwalUNet` (ADM).

Tensors carry the names of published files, where a level is known by its resolution: `enc.64x64_block0.conv0.weight`.
`invdiff.networks.edm_config` finds the arguments of a network from such names and shapes.

Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, appendix F; Song et al.,
Score-Based Generative Modeling through SDEs, 2021, appendix H; Dhariwal and Nichol, Diffusion Models Beat GANs, 2021.

Differs: attention belongs to a level, whatever the size of the image that is passed, so that one network takes all
sizes. Dropout and augmentation labels, which are inactive outside training, are left out.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invdiff.networks.edm_blocks import Conv, NoiseFeatures, Style, norm
from invdiff.networks.edm_levels import Levels


class SongUNet(Levels):
    """DDPM++ and NCSN++.

    Args:
        in_channels, out_channels: channels of image in and out.
        size: (H, W) of the training images; names the levels, and does not limit what can be passed.
        first: width of the first convolution (`model_channels`).
        widths: channels per level.
        blocks: residual blocks per level on the way down; one more on the way up.
        attention: levels with self-attention, 0 the finest.
        features: sinusoidal features of the noise level.
        embedding: width of the noise embedding.
        noise: "positional" (DDPM++) or "fourier" (NCSN++).
        encoder: "standard"; "skip" and "residual" bring smaller copies of the image in.
        decoder: "standard"; "skip" adds outputs of all levels.
        taps: resampling filter, (1, 1) for DDPM++, (1, 3, 3, 1) for NCSN++.
        label_dim: classes of a class-conditional network.
        label: the class to denoise for; None denoises for none.

    Shapes: x (B, in_channels, H, W) with H and W multiples of `multiple`, noise (B,); returns (B, out_channels, H, W).
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        first: int,
        widths: Sequence[int],
        blocks: int = 4,
        attention: Sequence[int] = (),
        features: int | None = None,
        embedding: int | None = None,
        noise: Literal["positional", "fourier"] = "positional",
        encoder: Literal["standard", "skip", "residual"] = "standard",
        decoder: Literal["standard", "skip"] = "standard",
        taps: Sequence[float] = (1, 1),
        label_dim: int = 0,
        label: int | None = None,
    ) -> None:
        embedding, features = embedding or 4 * first, features or first
        super().__init__(
            in_channels=in_channels, size=size, first=first, widths=widths, blocks=blocks, embedding=embedding
        )
        self.config = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "size": list(size),
            "first": first,
            "widths": list(widths),
            "blocks": blocks,
            "attention": list(attention),
            "features": features,
            "embedding": embedding,
            "noise": noise,
            "encoder": encoder,
            "decoder": decoder,
            "taps": list(taps),
            "label_dim": label_dim,
            "label": label,
        }
        _check_choices(noise=(noise, ("positional", "fourier")), encoder=(encoder, ("standard", "skip", "residual")))
        _check_choices(decoder=(decoder, ("standard", "skip")))
        self.encoder, self.decoder, self.taps = encoder, decoder, tuple(taps)
        self.image_width, self.out_channels = in_channels, out_channels
        self.map_noise = NoiseFeatures(features, fourier=noise == "fourier", steps=features // 2 - 1)
        self.map_label = nn.Linear(label_dim, features) if label_dim else None
        self.map_layer0, self.map_layer1 = nn.Linear(features, embedding), nn.Linear(embedding, embedding)
        self.label = _checked_label(label, label_dim)
        style = Style(self.taps, math.sqrt(0.5), 1e-6, adaptive=False, project=True, head_width=None)
        self.build(style, frozenset(attention), frozenset((level, blocks) for level in attention))

    def add_input(self, name: str, width: int) -> None:
        if self.encoder == "skip":
            self.enc[f"{name}_aux_down"] = Conv(self.in_channels, self.in_channels, 0, down=True, taps=self.taps)
            self.enc[f"{name}_aux_skip"] = Conv(self.in_channels, width, 1)
        elif self.encoder == "residual":
            self.enc[f"{name}_aux_residual"] = Conv(self.image_width, width, 3, down=True, taps=self.taps, first=True)
            self.image_width = width

    def add_output(self, level: int, name: str, width: int) -> None:
        if self.decoder == "skip" and level < len(self.names) - 1:
            self.dec[f"{name}_aux_up"] = Conv(self.out_channels, self.out_channels, 0, up=True, taps=self.taps)
        if self.decoder == "skip" or level == 0:
            self.dec[f"{name}_aux_norm"] = norm(width, 1e-6)
            self.dec[f"{name}_aux_conv"] = Conv(width, self.out_channels, 3)

    def inject(self, name: str, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        if self.encoder == "skip":
            image = self.enc[f"{name}_aux_down"](image)
            return x + self.enc[f"{name}_aux_skip"](image), image
        if self.encoder == "residual":
            x = (x + self.enc[f"{name}_aux_residual"](image)) / math.sqrt(2)
            return x, x
        return x, image

    def embed(self, noise: Tensor) -> Tensor:
        cosine, sine = self.map_noise(noise)
        z = torch.cat([sine, cosine], 1)
        if self.map_label is not None:
            z = z + self.map_label(_one_hot(self.label, self.map_label, z) * math.sqrt(self.map_label.in_features))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(z))))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        embedding, out = self.embed(noise), None
        for name, h in self.decode(self.encode(x, embedding), embedding):
            if f"{name}_aux_up" in self.dec:
                out = self.dec[f"{name}_aux_up"](out)
            if f"{name}_aux_conv" in self.dec:
                read = self.dec[f"{name}_aux_conv"](F.silu(self.dec[f"{name}_aux_norm"](h)))
                out = read if out is None else out + read
        assert out is not None  # the finest level always has an output
        return out


class DhariwalUNet(Levels):
    """ADM; arguments as for `SongUNet`.

    Args:
        head_width: channels per attention head, 64 in all published files; tensor shapes do not tell it.
        middle_attention: whether the deepest level starts the decoder with attention. Files of networks that are
            narrower than a head there have none.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        size: Sequence[int],
        first: int,
        widths: Sequence[int],
        blocks: int = 3,
        attention: Sequence[int] = (),
        features: int | None = None,
        embedding: int | None = None,
        head_width: int = 64,
        middle_attention: bool = True,
        label_dim: int = 0,
        label: int | None = None,
    ) -> None:
        features = features or first
        embedding = embedding or 4 * features
        super().__init__(
            in_channels=in_channels, size=size, first=first, widths=widths, blocks=blocks, embedding=embedding
        )
        self.config = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "size": list(size),
            "first": first,
            "widths": list(widths),
            "blocks": blocks,
            "attention": list(attention),
            "features": features,
            "embedding": embedding,
            "head_width": head_width,
            "middle_attention": middle_attention,
            "label_dim": label_dim,
            "label": label,
        }
        self.out_channels = out_channels
        self.map_noise = NoiseFeatures(features, fourier=False, steps=features // 2)
        self.map_layer0, self.map_layer1 = nn.Linear(features, embedding), nn.Linear(embedding, embedding)
        self.map_label = nn.Linear(label_dim, embedding, bias=False) if label_dim else None
        self.label, self.middle_attention = _checked_label(label, label_dim), middle_attention
        style = Style((1, 1), 1.0, 1e-5, adaptive=True, project=False, head_width=head_width)
        decoding = frozenset((level, i) for level in attention for i in range(blocks + 1))
        self.build(style, frozenset(attention), decoding)
        self.out_norm, self.out_conv = norm(widths[0], 1e-5), Conv(widths[0], out_channels, 3)

    def embed(self, noise: Tensor) -> Tensor:
        z = self.map_layer1(F.silu(self.map_layer0(torch.cat(self.map_noise(noise), 1))))
        if self.map_label is not None:
            z = z + self.map_label(_one_hot(self.label, self.map_label, z))
        return F.silu(z)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        embedding = self.embed(noise)
        for _, h in self.decode(self.encode(x, embedding), embedding):
            x = h
        return self.out_conv(F.silu(self.out_norm(x)))


def _one_hot(label: int | None, layer: nn.Linear, like: Tensor) -> Tensor:
    row = like.new_zeros(1, layer.in_features)
    if label is not None:
        row[0, label] = 1
    return row


def _checked_label(label: int | None, label_dim: int) -> int | None:
    if label is not None and not 0 <= label < label_dim:
        raise ValueError(f"label must be below the number of classes, {label_dim}, got {label}.")
    return label


def _check_choices(**choices: Any) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
