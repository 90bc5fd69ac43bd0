"""w(t, g) dt: how much of the angular integral each ray of a scan stands for.

Views stand for the angles half way to their neighbours, so that they may come in any order and spacing; an empty range
(limited angle, short scan) stands for nothing. A line that a fan beam measures twice, at (t, g) and (t + pi - 2 g, -g),
has weights that sum to 1: one half each for a full turn; Parker's smooth weights for a short scan of at least pi and
the fan; one half where both rays exist and 1 elsewhere for less. A detector that is shifted so far that it sees one
side alone (half-fan), and turns once, has weights that rise smoothly over the part that is seen twice.

Source: Parker, Optimal Short Scan Convolution Reconstruction for Fanbeam CT, 1982; Silver, A Method for Including
Redundant Data in Computed Tomography, 2000, for scans longer than the shortest; Wang, X-Ray Micro-CT with a Displaced
Detector Array, 2002.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from invdiff.operators.ct_geometry import FanGeometry, Geometry

GAP = 3.0  # median spacings from which on a range counts as not measured; golden angles stay below 2.7
SHIFTED = 1.1  # ratio of the sides of a detector from which on it is taken as seeing one side alone


def view_spacing(angles: Tensor, period: float) -> tuple[Tensor, float, float]:
    """The angle that each view stands for, (view,); and the start and the length of what is measured.

    Args:
        angles: radians, (view,) float64. period: after which lines repeat: pi for parallel beams, 2 pi for fans.

    Returns:
        spacing in the order of the angles; start and length in radians, the length being `period` where nothing is
        missing.
    """
    turned = angles.remainder(period)
    order = turned.argsort(stable=True)
    line = turned[order]
    gaps = torch.cat((line.diff(), (line[:1] + period - line[-1:])))  # after each view
    typical = float(gaps[gaps > 1e-9].median()) if len(line) > 1 else period
    missing = gaps > GAP * typical
    gaps = torch.where(missing, typical, gaps)
    spacing = torch.empty_like(gaps)
    spacing[order] = (gaps + gaps.roll(1)) / 2
    if not bool(missing.any()):
        return spacing, float(line[0]), period
    first = (int(missing.nonzero()[-1]) + 1) % len(line)
    return spacing, float(line[first]) - typical / 2, float(spacing.sum())


def ray_weights(geometry: Geometry) -> Tensor:
    """w dt of every ray, (view, bin) float64, radians; pi at most along each line.

    Sums of w dt over the measured rays of every direction make the integral over half a turn.
    """
    angles = torch.tensor(geometry.angles, dtype=torch.float64)
    spacing, start, length = view_spacing(angles, 2 * math.pi)
    shifted = displaced(geometry.detector_positions())
    if shifted is not None and length >= 2 * math.pi:
        return shifted * spacing[:, None]
    if not isinstance(geometry, FanGeometry):
        return view_spacing(angles, math.pi)[0][:, None].expand(-1, geometry.bins)
    g = geometry.fan_angles(geometry.detector_positions())
    beta = (angles - start).remainder(2 * math.pi)[:, None]
    if length >= 2 * math.pi:
        share = torch.full((len(angles), len(g)), 0.5, dtype=torch.float64)
    elif length >= geometry.short_scan - 1e-9:
        share = parker(beta, g, (length - math.pi) / 2)
    else:
        share = _counted(beta, g, length)
    return share * spacing[:, None]


def displaced(u: Tensor) -> Tensor | None:
    """Weights (bin,) of a full turn with a detector at u, mm, whose sides differ; None where they hardly do.

    (1 + sin(pi u / 2 a)) / 2 for |u| <= a, the half width that both sides see, and 1 beyond.
    """
    sides = -float(u[0]), float(u[-1])
    near, far = min(sides), max(sides)
    if near <= 0 or far < SHIFTED * near:
        return None
    part = (u if sides[1] == far else -u) / near
    return 0.5 + 0.5 * torch.sin(math.pi / 2 * part.clamp(-1, 1))


def completed(geometry: Geometry) -> tuple[Geometry, tuple[int, int]]:
    """A shifted detector with bins added until both sides are alike, and how many before and after.

    Filtered projections do not end with the detector; pixels whose rays miss its near side need them there.
    """
    u = geometry.detector_positions()
    extra = round(float(u[0] + u[-1]) / geometry.bin_width)
    if displaced(u) is None:
        return geometry, (0, 0)
    bins, offset = geometry.bins + abs(extra), geometry.offset - extra / 2
    return replace(geometry, bins=bins, offset=offset), (max(extra, 0), max(-extra, 0))


def parker(beta: Tensor, g: Tensor, delta: float) -> Tensor:
    """Parker's weights, (view, bin), of a scan over pi + 2 delta.

    Args:
        beta: angle since the start of the scan, (view, 1). g: fan angle, (bin,), within +-delta.
    """
    rise = torch.sin(math.pi / 4 * beta / (delta + g).clamp(min=1e-9)) ** 2
    fall = torch.sin(math.pi / 4 * (math.pi + 2 * delta - beta).clamp(min=0) / (delta - g).clamp(min=1e-9)) ** 2
    weights = torch.where(beta < 2 * delta + 2 * g, rise, 1.0)
    return torch.where(beta > math.pi + 2 * g, fall, weights)


def _counted(beta: Tensor, g: Tensor, length: float) -> Tensor:
    """One half where the other ray of the same line is measured too, 1 elsewhere."""
    other = (beta + math.pi - 2 * g).remainder(2 * math.pi)
    return torch.where(other <= length, 0.5, 1.0).to(torch.float64)
