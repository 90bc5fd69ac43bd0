"""int f dl = 2 v a b sqrt(A^2 - d^2) / A^2: ellipses of constant value and their exact line integrals.

The line is x cos t + y sin t = s, d its distance from the ellipse's centre and A^2 = a^2 cos^2(t - phi) +
b^2 sin^2(t - phi), phi the direction of the axis a. Values of overlapping ellipses add up.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Ellipse(NamedTuple):
    """Centre (x, y) and half axes a, b in mm; phi in radians from the x axis to the axis a; value inside, mm^-1."""

    x: float
    y: float
    a: float
    b: float
    phi: float
    value: float


def eight_ellipses(radius: float) -> list[Ellipse]:
    """A body with a thin shell, lungs and smaller parts in a circle of this radius, mm; without symmetry."""
    parts = (
        (0.02, -0.03, 0.88, 0.66, 0.10, 0.040),
        (0.02, -0.03, 0.85, 0.63, 0.10, -0.020),
        (-0.36, 0.06, 0.24, 0.40, 0.25, -0.014),
        (0.38, 0.02, 0.22, 0.36, -0.30, -0.012),
        (0.03, -0.40, 0.12, 0.10, 0.60, 0.018),
        (0.05, 0.22, 0.17, 0.12, -0.50, 0.006),
        (-0.30, 0.18, 0.05, 0.08, 0.90, 0.015),
        (-0.62, -0.20, 0.09, 0.05, 1.30, -0.008),
    )
    return [Ellipse(radius * x, radius * y, radius * a, radius * b, phi, value) for x, y, a, b, phi, value in parts]


def line_integrals(ellipses: Iterable[Ellipse], t: Tensor, s: Tensor) -> Tensor:
    """Integrals along the lines x cos t + y sin t = s; t in radians and s in mm broadcast, float64."""
    total = torch.zeros(torch.broadcast_shapes(t.shape, s.shape), dtype=torch.float64)
    for e in ellipses:
        width = (e.a * (t - e.phi).cos()) ** 2 + (e.b * (t - e.phi).sin()) ** 2
        d = s - e.x * t.cos() - e.y * t.sin()
        total += 2 * e.value * e.a * e.b / width * (width - d**2).clamp(min=0).sqrt()
    return total


def strip_means(ellipses: Iterable[Ellipse], t: Tensor, s: Tensor, width: float) -> Tensor:
    """Means of the line integrals over strips of this width about s, mm: what a bin of a parallel beam measures."""
    total = torch.zeros(torch.broadcast_shapes(t.shape, s.shape), dtype=torch.float64)
    for e in ellipses:
        half = torch.hypot(e.a * (t - e.phi).cos(), e.b * (t - e.phi).sin())
        d = s - e.x * t.cos() - e.y * t.sin()
        total += e.value * e.a * e.b / width * (_segment((d + width / 2) / half) - _segment((d - width / 2) / half))
    return total


def _segment(r: Tensor) -> Tensor:
    """int_-1^r 2 sqrt(1 - q^2) dq up to a constant: area of a unit disc's segment."""
    r = r.clamp(-1, 1)
    return r * (1 - r**2).sqrt() + r.asin()


def ellipse_image(
    ellipses: Iterable[Ellipse],
    shape: tuple[int, int],
    pixel: tuple[float, float] = (1.0, 1.0),
    center: tuple[float, float] = (0.0, 0.0),
    samples: int = 8,
) -> Tensor:
    """Pixel values as means over samples x samples points, (H, W) float64, in mm^-1.

    Args:
        ellipses: their lengths are in mm, x to the right and y up from the axis.
        shape: (H, W). pixel: (dy, dx) in mm. center: (y, x) of the image's centre, mm.
        samples: along each side of a pixel.
    """
    (height, width), (dy, dx) = shape, pixel
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in shape)
    y, x = (center[0] - dy * rows)[:, None].expand(shape), (center[1] + dx * columns).expand(shape)
    places = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples - 0.5
    image = torch.zeros(height, width, dtype=torch.float64)
    for e in ellipses:
        r = _radius(e, x, y)
        edge = (r - 1).abs() <= math.hypot(dx, dy) / 2 / min(e.a, e.b)  # the only pixels that may lie on both sides
        share = (r <= 1).double()
        fine = _radius(e, x[edge][:, None, None] + dx * places, y[edge][:, None, None] + dy * places[:, None])
        share[edge] = (fine <= 1).double().mean((1, 2))
        image += e.value * share
    return image


def _radius(e: Ellipse, x: Tensor, y: Tensor) -> Tensor:
    """1 on the ellipse's edge, less inside."""
    c, s = math.cos(e.phi), math.sin(e.phi)
    u, v = x - e.x, y - e.y
    return torch.hypot((c * u + s * v) / e.a, (c * v - s * u) / e.b)
