"""Line integrals and images of ellipses: an oracle that no projector of ours has touched."""

import math

import torch
from torch import Tensor

from invdiff.operators.ct_geometry import Geometry

# value, half axes, centre (x, y), degrees: the head of Shepp and Logan (1974), with the contrasts of Toft (1996)
SHEPP_LOGAN = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
)


def head(geometry: Geometry, radius: float, samples: int = 8) -> Tensor:
    """The phantom averaged over pixels, (1, 1, H, W) float64; `radius` mm are 1 in the table."""
    y, x = geometry.coordinates()
    dy, dx = geometry.pixel
    inside = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples - 0.5
    x, y = (x[:, None] + dx * inside).flatten(), (y[:, None] - dy * inside).flatten()[:, None]
    image = torch.zeros(len(y), len(x), dtype=torch.float64)
    for value, a, b, x0, y0, degrees in SHEPP_LOGAN:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        u, v = x / radius - x0, y / radius - y0
        image += value * (((u * c + v * s) / a) ** 2 + ((v * c - u * s) / b) ** 2 <= 1)
    return image.reshape(geometry.shape[0], samples, geometry.shape[1], samples).mean((1, 3))[None, None]


def brain(geometry: Geometry, radius: float) -> Tensor:
    """Pixels inside the skull, (H, W) bool."""
    y, x = geometry.coordinates()
    return (x / radius / 0.6624) ** 2 + ((y[:, None] / radius + 0.0184) / 0.874) ** 2 < 0.97


def sinogram(geometry: Geometry, radius: float, rays: int = 4) -> Tensor:
    """Its line integrals, averaged over `rays` rays for each bin, (1, 1, view, bin) float64."""
    _, _, distance = geometry.lines(rays)
    g = geometry.fan_angles(geometry.detector_positions(rays))
    turn = torch.tensor(geometry.angles, dtype=torch.float64)[:, None] - g
    out = torch.zeros_like(turn)
    for value, a, b, x0, y0, degrees in SHEPP_LOGAN:
        t = turn - math.radians(degrees)
        width = (radius * a * t.cos()) ** 2 + (radius * b * t.sin()) ** 2
        s = distance - radius * (x0 * turn.cos() + y0 * turn.sin())
        out += value * 2 * a * b * radius**2 * (width - s**2).clamp(min=0).sqrt() / width
    return out.reshape(len(turn), geometry.bins, rays).mean(-1)[None, None]
