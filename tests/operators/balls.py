"""int f dl = 2 v sqrt(r^2 - d^2): balls of constant value, Gaussian blobs, and their line integrals in a cone beam.

Sources and detectors are points in space here, so that no formula of the projectors is used.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from invdiff.operators.ct_cone_geometry import ConeGeometry


class Ball(NamedTuple):
    """Centre (x, y, z) and radius in mm; value inside, mm^-1."""

    centre: tuple[float, float, float]
    radius: float
    value: float

    def chord(self, squared: Tensor) -> Tensor:
        """The integral along a line whose distance from the centre has this square."""
        return 2 * self.value * (self.radius**2 - squared).clamp(min=0).sqrt()

    def at(self, squared: Tensor) -> Tensor:
        return self.value * (squared <= self.radius**2)


class Blob(NamedTuple):
    """A Gaussian: centre (x, y, z) and standard deviation in mm, value in the centre."""

    centre: tuple[float, float, float]
    width: float
    value: float

    def chord(self, squared: Tensor) -> Tensor:
        return math.sqrt(2 * math.pi) * self.width * self.at(squared)

    def at(self, squared: Tensor) -> Tensor:
        return self.value * torch.exp(-squared / (2 * self.width**2))


def cone_integrals(geometry: ConeGeometry, bodies: list[Ball] | list[Blob], rays: int = 3) -> Tensor:
    """Means over `rays` x `rays` lines to each bin, (view, row, bin) float64."""
    t = torch.tensor(geometry.angles, dtype=torch.float64)[:, None, None]
    u = _places(geometry.bins, geometry.offset[1], geometry.bin_width, rays)
    v = _places(geometry.rows, geometry.offset[0], geometry.row_height, rays)[:, None]
    source = _point(geometry.source_distance * t.sin(), -geometry.source_distance * t.cos(), 0 * t)
    behind = geometry.detector_distance
    end = _point(u * t.cos() - behind * t.sin(), u * t.sin() + behind * t.cos(), v)
    direction = torch.nn.functional.normalize(end - source, dim=-1)
    total = torch.zeros(direction.shape[:-1], dtype=torch.float64)
    for body in bodies:
        away = torch.tensor(body.centre, dtype=torch.float64) - source
        squared = away.square().sum(-1) - (away * direction).sum(-1) ** 2
        total += body.chord(squared)
    return total.unflatten(2, (-1, rays)).unflatten(1, (-1, rays)).mean((2, 4))


def volume(geometry: ConeGeometry, bodies: list[Ball] | list[Blob], samples: int = 3) -> Tensor:
    """Voxel values as means over samples^3 points, (1, 1, D, H, W) float64; x right, y up, z rising with the slice."""
    sides = zip(geometry.shape, geometry.pixel, geometry.center, (1, -1, 1), strict=True)
    z, y, x = (c + sign * _places(n, 0.0, d, samples) for n, d, c, sign in sides)
    fine = torch.zeros(len(z), len(y), len(x), dtype=torch.float64)
    for body in bodies:
        x0, y0, z0 = body.centre
        fine += body.at((z[:, None, None] - z0) ** 2 + (y[:, None] - y0) ** 2 + (x - x0) ** 2)
    return torch.nn.functional.avg_pool3d(fine[None, None], samples)


def _places(count: int, offset: float, width: float, each: int) -> Tensor:
    middles = torch.arange(count * each, dtype=torch.float64) + 0.5
    return (middles / each - count / 2 + offset) * width


def _point(*coordinates: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*coordinates), -1)
