"""x cos(t - g) + y sin(t - g) = s: the rays of a scan as small tables, one row per view and one per ray of a view."""

from typing import NamedTuple

import torch
from torch import Tensor


class Rays(NamedTuple):
    """What every projector kernel is given; nothing here grows with views x bins.

    views: cos t and sin t, (view, 2) float64. lines: cos g, sin g and s in mm, (bins * per_bin, 3) float64, in order.
    scan: y of row 0, x of column 0, dy and dx in mm; distance of the source from the axis (0: parallel beam) and from
        the detector in mm; 1 for a curved detector, else 0; bin width in mm; the place in bins where u = 0.
    per_bin: rays whose mean a bin measures, by Joseph's model; 0 for the strip model, where `lines` are the edges of
        the bins, (bins + 1, 3).
    """

    views: Tensor
    lines: Tensor
    scan: list[float]
    per_bin: int

    @property
    def bins(self) -> int:
        return len(self.lines) // self.per_bin if self.per_bin else len(self.lines) - 1

    @property
    def model(self) -> str:
        return "joseph" if self.per_bin else "strip"

    def sinogram(self, images: int) -> tuple[int, int, int]:
        return images, len(self.views), self.bins


class Entries(NamedTuple):
    """Where rays meet the rows of an image, or its columns: at start + i step on line i, in pixels.

    (view, ray) float64 each. weight: mm of path per line, over the rays of a bin; 0 for rays that go the other way,
    which start far outside.
    """

    start: Tensor
    step: Tensor
    weight: Tensor


def entries(rays: Rays, by_rows: bool) -> Entries:
    """Rays that run more down than across (by_rows), or the others, as `joseph_numba.entry` tells them apart."""
    (cos_t, sin_t), (cos_g, sin_g, p) = rays.views.T[..., None], rays.lines.T
    c, s = cos_t * cos_g + sin_t * sin_g, sin_t * cos_g - cos_t * sin_g
    top, left, dy, dx = rays.scan[:4]
    down = s.abs() * dy <= c.abs() * dx
    chosen = down if by_rows else ~down
    r = 1 / torch.where(chosen, c if by_rows else s, 1.0)
    if by_rows:
        start, step, mm = ((p - top * s) * r - left) / dx, dy * s * r / dx, dy
    else:
        start, step, mm = (top - (p - left * c) * r) / dy, dx * c * r / dy, dx
    return Entries(
        torch.where(chosen, start, -4.0),
        torch.where(chosen, step, 0.0),
        torch.where(chosen, mm / rays.per_bin * r.abs(), 0.0),
    )
