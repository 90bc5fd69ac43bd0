"""F(x, c_noise, place): a SongUNet that also sees where in the whole image its pixels lie.

Source: Wang et al., Patch Diffusion, NeurIPS 2023; Hu et al., Learning Image Priors through Patch-based Diffusion
Models (PaDIS), NeurIPS 2024: two more input channels, column and row in [-1, 1].
"""

from typing import Any

import torch
from torch import Tensor

from invdiff.networks.edm_unet import SongUNet


class PlacedSongUNet(SongUNet):
    """A `SongUNet` whose last two input channels are coordinates.

    Args:
        extent: the share of the coordinates' range that the image takes. Below 1 where the training images had a margin
            of zeros: 256 / 304 for images of 256 pixels with 24 on either side.
        arguments: those of `SongUNet`; in_channels counts the coordinates.

    Shapes: x (B, in_channels - 2, H, W), noise (B,), coordinates (B or 1, 2, H, W) as `coordinate_grid` makes them;
    returns (B, out_channels, H, W). H and W are multiples of `multiple`.

    Differs: in the papers -1 and 1 are the centres of the outermost pixels, here their outer edges.
    """

    coordinates = True  # who evaluates the network looks here whether it wants them

    def __init__(self, *, extent: float = 1.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        if not 0 < extent <= 1:
            raise ValueError(f"extent must be above 0 and at most 1, got {extent}.")
        self.extent = extent
        self.config = {**self.config, "extent": extent}

    def forward(self, x: Tensor, noise: Tensor, coordinates: Tensor) -> Tensor:  # type: ignore[override]
        if any(n % self.multiple for n in x.shape[-2:]):
            raise ValueError(
                f"this network takes sides that are multiples of {self.multiple}, got {tuple(x.shape[-2:])}; "
                "evaluate it tile by tile: TiledPrior(prior, tile=...)."
            )
        place = self.extent * coordinates.to(x).expand(len(x), -1, -1, -1)
        return super().forward(torch.cat([x, place], 1), noise)
