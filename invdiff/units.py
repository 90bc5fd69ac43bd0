"""physical = scale * prior + offset: the affine map between physical units and a prior's range, one per sample.

mu = mu_water (1 + HU / 1000): Hounsfield's scale, on which air is -1000 and water 0.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invdiff.checks import require
from invdiff.shapes import over

MU_WATER = 0.0193  # mm^-1, water at about 70 keV, near the mean energy of a 120 kV scan

_Values = TypeVar("_Values", float, Tensor, NDArray[np.floating])


def hu_to_mu(hu: _Values, mu_water: float = MU_WATER) -> _Values:
    """Linear attenuation in mm^-1 (in the unit of mu_water) of Hounsfield units: numbers, arrays or tensors."""
    require("mu_water", mu_water, above=0)
    return mu_water * (1 + hu / 1000)


def mu_to_hu(mu: _Values, mu_water: float = MU_WATER) -> _Values:
    """Hounsfield units of a linear attenuation in the unit of mu_water: numbers, arrays or tensors."""
    require("mu_water", mu_water, above=0)
    return 1000 * (mu / mu_water - 1)


@dataclass(frozen=True)
class Units:
    """scale: (B,), positive; offset: (B,); both in physical units."""

    scale: Tensor
    offset: Tensor

    def to_physical(self, x: Tensor) -> Tensor:
        """From prior units, (B, ...)."""
        return over(self.scale, x) * x + over(self.offset, x)

    def to_prior(self, x: Tensor) -> Tensor:
        """From physical units, (B, ...)."""
        return (x - over(self.offset, x)) / over(self.scale, x)

    def repeat(self, samples: int) -> "Units":
        """The map for `samples` draws of each measurement, sample index fastest."""
        return Units(self.scale.repeat_interleave(samples), self.offset.repeat_interleave(samples))


def identity(batch: int, device: torch.device | str = "cpu") -> Units:
    """Physical units are the prior's own."""
    one = torch.ones(batch, dtype=torch.float32, device=device)
    return Units(one, one * 0)


def by_window(batch: int, window: tuple[float, float], range: tuple[float, float], device: torch.device | str) -> Units:
    """The map that takes the prior's `range` to the physical `window`."""
    scale = (window[1] - window[0]) / (range[1] - range[0])
    offset = window[0] - scale * range[0]
    one = torch.ones(batch, dtype=torch.float32, device=device)
    return Units(scale * one, offset * one)


def by_percentile(image: Tensor, percentile: float) -> Units:
    """The map under which `percentile` of |image|, (B, ...), becomes 1.

    Raises:
        ValueError: an item of the batch is zero at that percentile, so that no scale can be found.
    """
    scale = torch.quantile(image.abs().flatten(1).float(), percentile / 100, dim=1)
    if not bool((scale > 0).all()):
        item = int((scale <= 0).nonzero()[0])
        raise ValueError(
            f"no intensity scale: item {item} of the batch holds no signal. Leave it out, or pass scale=..."
        )
    return Units(scale, torch.zeros_like(scale))
