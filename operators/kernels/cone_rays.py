"""k = (v depth / D - z_0) / dz: the rays of a cone-beam scan, those of a fan that climb in proportion to their depth.

What is known of a ray before it is followed: its plane's table (`rays`), its slope and what its path weighs. Kernels
give plain sums over the lines of a volume, (B, view, ray, height); weights and means over a bin are taken here, both
ways, for all of them.
"""

from typing import NamedTuple

from torch import Tensor

from invdiff.operators.kernels.rays import Entries, Rays, entries


class ConeRays(NamedTuple):
    """What every cone-beam kernel is given.

    plane: the rays within the plane of the source. slopes: v / D of the heights, rising in equal steps,
    (rows * per_row,) float64. per_row: rays whose mean a row measures. bottom, dz: z of slice 0 and a slice's height,
    mm.
    """

    plane: Rays
    slopes: Tensor
    per_row: int
    bottom: float
    dz: float

    def projections(self, volumes: int) -> tuple[int, int, int, int]:
        return volumes, len(self.plane.views), len(self.slopes) // self.per_row, self.plane.bins


def depths(rays: Rays, path: Entries, by_rows: bool) -> tuple[Tensor, Tensor]:
    """Distance from the source along the central ray, mm, on line 0 and its change per line, (view, ray) each."""
    cos_t, sin_t = rays.views.T[..., None]
    top, left, dy, dx, distance = rays.scan[:5]
    if by_rows:
        first = distance + top * cos_t - (left + dx * path.start) * sin_t
        return first, -dy * cos_t - dx * path.step * sin_t
    first = distance + (top - dy * path.start) * cos_t - left * sin_t
    return first, -dy * path.step * cos_t - dx * sin_t


def measured(sums: Tensor, rays: ConeRays) -> Tensor:
    """Projections (B, view, row, bin) of the rays' sums (B, view, ray, height)."""
    path, slant = _weights(sums, rays)
    bins = (sums * path * slant).unflatten(2, (-1, rays.plane.per_bin)).sum(3)
    return bins.unflatten(3, (-1, rays.per_row)).sum(4).transpose(2, 3).contiguous()


def spread(y: Tensor, rays: ConeRays) -> Tensor:
    """The transpose of `measured`: what each ray carries, (B, view, ray, height)."""
    path, slant = _weights(y, rays)
    every = y.transpose(2, 3).repeat_interleave(rays.plane.per_bin, 2).repeat_interleave(rays.per_row, 3)
    return (every * path * slant).contiguous()


def _weights(like: Tensor, rays: ConeRays) -> tuple[Tensor, Tensor]:
    """Path per line in the plane, mm over the rays of a bin, (view, ray, 1); how much longer it is, (ray, height)."""
    path = entries(rays.plane, True).weight + entries(rays.plane, False).weight
    slant = (1 + (rays.slopes * rays.plane.lines[:, :1]) ** 2).sqrt()
    return (path[..., None] / rays.per_row).to(like), slant.to(like)
