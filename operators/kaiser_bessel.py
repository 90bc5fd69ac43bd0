"""K(u) = I0(b sqrt(1 - (2u/J)^2)) / I0(b) for |u| <= J/2: the window that spreads samples on a grid, and its transform.

    Khat(x) = integral of K(u) exp(-2 pi i u x) du = J / I0(b) sinh(s) / s,   s = sqrt(b^2 - (pi J x)^2)

Source: Jackson et al., Selection of a Convolution Function for Fourier Inversion Using Gridding, 1991; Beatty,
Nishimura and Pauly, Rapid Gridding Reconstruction With a Minimal Oversampling Ratio, 2005, equation 5, for b.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KaiserBessel:
    """The window over `taps` grid points (J) for a grid that is `ratio` times as large as the image."""

    taps: int
    ratio: float

    @property
    def shape_parameter(self) -> float:
        """The b that gives the least aliasing at this width and ratio."""
        return math.pi * math.sqrt((self.taps / self.ratio * (self.ratio - 0.5)) ** 2 - 0.8)

    def __call__(self, u: Tensor) -> Tensor:
        """K at distances u in grid points, float64."""
        b = self.shape_parameter
        inside = (1 - (2 * u / self.taps) ** 2).clamp(min=0).sqrt()
        value = torch.special.i0e(b * inside) * torch.exp(b * (inside - 1)) / _i0e(b)
        return torch.where(u.abs() <= self.taps / 2, value, 0.0)

    def transform(self, x: Tensor) -> Tensor:
        """Khat at x cycles per grid point, float64; |x| at most 1/2 / ratio, where it is positive."""
        b = self.shape_parameter
        s = (b**2 - (math.pi * self.taps * x) ** 2).sqrt()
        return self.taps * (torch.exp(s - b) - torch.exp(-s - b)) / (2 * s) / _i0e(b)


def _i0e(b: float) -> Tensor:
    return torch.special.i0e(torch.tensor(b, dtype=torch.float64))
