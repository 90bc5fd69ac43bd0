"""physical = scale * prior + offset: the affine map between physical units and a prior's range, one per sample."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invdiff.shapes import over


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
    return Units(torch.ones(batch, device=device), torch.zeros(batch, device=device))


def by_window(batch: int, window: tuple[float, float], range: tuple[float, float], device: torch.device | str) -> Units:
    """The map that takes the prior's `range` to the physical `window`."""
    scale = (window[1] - window[0]) / (range[1] - range[0])
    offset = window[0] - scale * range[0]
    one = torch.ones(batch, device=device)
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
