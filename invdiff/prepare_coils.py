"""z = C L^-1 y, then s from z: receive coils made white, compressed to a few, and their maps, as a scan is prepared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from invdiff.data.coil_ratios import body_coil_maps, low_resolution_maps
from invdiff.data.coils import espirit_sets
from invdiff.operators.base import LinearOperator
from invdiff.operators.coil_compression import svd_compression
from invdiff.operators.coil_mixing import mix_coils
from invdiff.operators.row import row
from invdiff.operators.whitening import noise_covariance, whitening_matrix
from invdiff.settings import UsageError

Maps = Literal["espirit", "stored", "low-resolution", "body-coil"]
MAPS: dict[Maps, str] = {
    "espirit": "ESPIRiT of the calibration lines",
    "stored": "stored in the file",
    "low-resolution": "coil images at low resolution",
    "body-coil": "coil images over the body coil's",
}


@dataclass(frozen=True)
class Coils:
    """What is done with the receive coils of a scan, in this order.

    Attributes:
        whiten: decorrelate them with the scan's noise, at their mean noise level.
        virtual: compress them to so many by singular values; None leaves them.
        maps: where maps come from. "stored" may know of more than was sampled; the others read the calibration lines
            alone, and of the body coil, where it was measured, the same part. A single coil has none.
        sets: of ESPIRiT maps; with more than one the image has as many channels (soft-SENSE).
        crop: ESPIRiT maps are zero where their eigenvalue is below.
    """

    maps: Maps = "espirit"
    sets: int = 1
    crop: float = 0.9
    virtual: int | None = None
    whiten: bool = False

    def __post_init__(self) -> None:
        if self.maps not in MAPS:
            raise UsageError(f"--maps {self.maps} is none of {', '.join(MAPS)}.")
        if self.sets > 1 and self.maps != "espirit":
            raise UsageError(f"--sets {self.sets} wants --maps espirit; there is one set of {self.maps} maps.")

    def described(self) -> str:
        """Where the maps come from, for the record."""
        return MAPS[self.maps] + (f", {self.sets} sets" if self.sets > 1 else "")

    def matrix(self, kspace: Tensor, noise: Tensor | None) -> Tensor | None:
        """C s L^-1, (virtual, coil), s the mean noise level; None where coils stay as they are.

        Args:
            kspace: (coil, ...), what compression keeps the most of.
            noise: (coil, n), wanted to whiten.
        """
        matrix = None if noise is None or not self.whiten else level_whitening(noise)
        if self.virtual is None or self.virtual == len(kspace):
            return matrix
        if self.virtual > len(kspace):
            raise UsageError(f"--coils {self.virtual} is more than the {len(kspace)} of the file.")
        white = kspace.flatten(1) if matrix is None else matrix @ kspace.flatten(1)
        compress = svd_compression(white, self.virtual)
        return compress if matrix is None else compress @ matrix

    def sensitivities(
        self,
        kspace: Tensor,
        mask: Tensor | None,
        stored: Tensor | None,
        body: Tensor | None,
        *,
        lost: Tensor | None = None,
        width: int | None = None,
        kernel: int = 6,
    ) -> Tensor:
        """Maps (sets, coil, h, w).

        Args:
            kspace: (coil, h, w), Cartesian, whitened and compressed. mask: what of it is sampled; None is all.
            lost: points (h, w) that were to be sampled and have no value, around which ESPIRiT finds its way.
            stored: the file's maps, mixed as k-space was, or None. body: k-space of the body coil, or None.
            width: of the calibration block, at most; None as each kind has it. kernel: of ESPIRiT's patches.
        """
        block = {} if width is None else {"width": width}
        if self.maps == "espirit":
            maps = espirit_sets(kspace, mask, self.sets, lost=lost, kernel=kernel, crop=self.crop, **block)
            return _seen(maps, self.crop)
        if self.maps == "low-resolution":
            return low_resolution_maps(kspace, mask, **block)[None]
        if self.maps == "body-coil":
            if body is None:
                raise UsageError("the file has no k-space of a body coil (kspace_body_coil); use --maps espirit.")
            return body_coil_maps(kspace, body, mask)[None]
        if stored is None:
            raise UsageError("the file stores no coil maps; leave out --maps stored.")
        return stored[None]


def _seen(maps: Tensor, crop: float) -> Tensor:
    """The maps (sets, coil, h, w); sets that are zero everywhere are left out.

    Raises:
        ValueError: none is left.
    """
    seen = (maps != 0).flatten(1).any(1)
    if not bool(seen.any()):
        raise ValueError(
            f"ESPIRiT finds no coil sensitivities: no eigenvalue is above {crop:g}. Keep more calibration "
            "lines (--acs), take --maps low-resolution, or lower --map-crop."
        )
    return maps[seen]


def level_whitening(noise: Tensor) -> Tensor:
    """s L^-1 of noise (coil, n), (coil, coil): white coils at their mean noise level s."""
    return noise_level(noise) * whitening_matrix(noise_covariance(noise))


def noise_level(noise: Tensor) -> Tensor:
    """s, the root mean square over coils of their noise levels per real component, ()."""
    return noise_covariance(noise).diagonal().real.mean().sqrt()


def mixed(values: Tensor | None, matrix: Tensor | None) -> Tensor | None:
    """Data or maps (coil, ...) of the mixed coils."""
    return values if values is None or matrix is None else mix_coils(values[None], matrix)[0]


def encoding(
    maps: Tensor | None, make: Callable[[Tensor | None], LinearOperator]
) -> tuple[LinearOperator, Callable[[Tensor], Tensor]]:
    """The operator of all sets of maps (sets, coil, h, w), and how its solution becomes an image.

    Args:
        make: from one set of maps (1, coil, h, w), or None, to its operator.
    """
    sets: Sequence[Tensor | None] = [None] if maps is None else list(maps.split(1))
    ops = [make(one) for one in sets]
    return (ops[0], _only) if len(ops) == 1 else (row(*ops), combined)


def _only(x: Tensor) -> Tensor:
    return x[0, 0]


def combined(x: Tensor) -> Tensor:
    """Images of several sets (1, sets, h, w) as one, (h, w), with the phase of the first.

    Maps are orthonormal over coils, so the root sum of squares over sets is that of the coil images.
    """
    return torch.linalg.vector_norm(x[0], dim=0) * torch.where(x[0, 0] == 0, 1, torch.sgn(x[0, 0]))
