"""x = sum over tissues of (contrast x soft ellipse): a head that nobody owns.

Made for tests and examples: it has skin, skull, folded cortex, white matter, ventricles, nuclei and small lesions, with
edges one pixel wide and a faint texture. It is no model of anatomy.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from invdiff.random import mix

# centre (x, y), half axes, angle in degrees, intensity that the tissue takes inside
_NUCLEI = (
    (-0.10, 0.12, 0.055, 0.19, 12.0, 0.16),  # lateral ventricles
    (0.10, 0.12, 0.055, 0.19, -12.0, 0.16),
    (0.0, -0.10, 0.018, 0.09, 0.0, 0.18),  # third ventricle
    (-0.17, -0.06, 0.07, 0.12, -20.0, 0.60),  # deep grey matter
    (0.17, -0.06, 0.07, 0.12, 20.0, 0.60),
)


def head_phantom(shape: tuple[int, int], seed: int = 0) -> Tensor:
    """An axial head, nose up, (h, w) float32 in [0, 1], zero in air.

    Args:
        shape: (h, w), at least 8 each; the head keeps its proportions and fills the field of view.
        seed: varies sizes, tilt, folds and lesions.

    Raises:
        ValueError: the shape is too small.
    """
    if min(shape) < 8:
        raise ValueError(f"shape must be at least (8, 8), got {shape}.")
    generator = Generator().manual_seed(mix(seed, 1))
    u = torch.rand(16, generator=generator, dtype=torch.float64) - 0.5
    x, y, unit = _coordinates(shape, tilt=float(u[0]) * 0.2)
    a, b = 0.76 + 0.06 * float(u[1]), 0.92 + 0.04 * float(u[2])
    folds, texture = _field(shape, 20, generator), _field(shape, 48, generator)

    image = torch.zeros(shape, dtype=torch.float64)
    for thickness, value in ((0.0, 0.85), (0.06, 0.08), (0.12, 0.22)):  # skin, skull, fluid
        image = _paint(image, _ellipse(x, y, 0, 0, a - thickness, b - thickness, 0, unit), value)
    cortex = _ellipse(x, y, 0, 0, a - 0.15, b - 0.15, 0, unit)
    sulci = torch.exp(-((folds / 0.18) ** 2)) * (1 - _ellipse(x, y, 0, 0, a - 0.33, b - 0.33, 0, unit))
    image = _paint(image, cortex * (1 - 0.8 * sulci), 0.52)
    white = _ellipse(x + 0.02 * folds, y + 0.05 * folds, 0, 0, a - 0.25, b - 0.25, 0, unit)
    image = _paint(image, white * (1 - 0.7 * sulci), 0.74)
    for cx, cy, ea, eb, angle, value in _NUCLEI:
        image = _paint(image, _ellipse(x, y, cx, cy, ea, eb, angle, unit), value)
    for i in range(3):  # lesions
        cx, cy, r = 0.7 * float(u[3 + i]), 0.9 * float(u[6 + i]), 0.03 + 0.03 * abs(float(u[9 + i]))
        image = _paint(image, _ellipse(x, y, cx, cy, r, 0.8 * r, 0, unit), 0.95 if i else 0.35)
    head = _ellipse(x, y, 0, 0, a, b, 0, unit)
    image = image * (1 + 0.03 * texture) * head
    return torch.where(head > 1e-2, image, 0.0).clamp(0, 1).float()


def smooth_phase(shape: tuple[int, int], seed: int = 0, strength: float = 1.0) -> Tensor:
    """A slowly varying phase such as field inhomogeneity leaves, (h, w) float32, radians, about +-2 x strength."""
    return strength * _field(shape, 4, Generator().manual_seed(mix(seed, 2))).float()


def _coordinates(shape: tuple[int, int], tilt: float) -> tuple[Tensor, Tensor, float]:
    """x to the right and y up in units that fit a head of half axes (0.8, 0.95), and pixels per unit."""
    h, w = shape
    unit = min(h / 2.1, w / 1.8)
    rows, columns = ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / unit for n in (h, w))
    y, x = torch.meshgrid(-rows, columns, indexing="ij")
    c, s = math.cos(tilt), math.sin(tilt)
    return c * x + s * y, c * y - s * x, unit


def _ellipse(x: Tensor, y: Tensor, cx: float, cy: float, a: float, b: float, degrees: float, unit: float) -> Tensor:
    """1 inside, 0 outside, with an edge about one pixel wide."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    u, v = x - cx, y - cy
    rho = torch.hypot((c * u + s * v) / a, (c * v - s * u) / b)
    return torch.sigmoid((1 - rho) * min(a, b) * unit * 4)


def _paint(image: Tensor, inside: Tensor, value: float) -> Tensor:
    return image + inside * (value - image)


def _field(shape: tuple[int, int], knots: int, generator: Generator) -> Tensor:
    """Smooth Gaussian noise of unit variance at knots x knots points, bicubic between them, (h, w)."""
    coarse = torch.randn(1, 1, knots, knots, generator=generator, dtype=torch.float64)
    return interpolate(coarse, size=shape, mode="bicubic", align_corners=True)[0, 0]
