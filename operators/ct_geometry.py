"""x cos t + y sin t = s: where the rays of a two-dimensional scan run.

One convention everywhere: the rotation axis is the origin, x points right and y up, pixel (i, j) of an image (H, W) has
its centre at x = (j - (W - 1) / 2) dx, y = ((H - 1) / 2 - i) dy (plus `center`, where the image is not centred on the
axis). Lengths are in mm, angles in radians, the offset in bins. Bin b lies at u = (b - (bins - 1) / 2 + offset)
bin_width on the detector.

Parallel beam, view t: the ray of bin b is the line x cos t + y sin t = u, running along (-sin t, cos t).
Fan beam, view t: the source is at source_distance (sin t, -cos t), the central ray runs along (-sin t, cos t) and u
grows along (cos t, sin t). The ray at the fan angle g is the line x cos(t - g) + y sin(t - g) = source_distance sin g,
with tan g = u / D on a flat detector, g = u / D on a curved one, D = source_distance + detector_distance. A fan beam
whose source moves to infinity is the parallel beam of the same angles.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from invdiff.operators.ct_checks import checked_angles, count, finite, image_sizes, length, pair, pixel_pair


@dataclass(frozen=True)
class Geometry(ABC):
    """What parallel and fan beams have in common.

    Args:
        angles: of the views, radians, any order and spacing: a sequence, array or tensor (view,). Kept as a tuple.
        shape: (H, W) of the image.
        bins: number of detector bins.
        bin_width: of a bin on the detector, mm (arc length on a curved one).
        pixel: size (dy, dx) of a pixel, mm; one number for square ones.
        offset: displacement of the detector in bins, towards larger u; 0.25 is the quarter-detector shift.
        center: (y, x) of the image's centre, mm from the axis: a region of interest anywhere in the scan.

    Raises:
        ValueError: values that make no scan; the message says which and what to do.
    """

    angles: tuple[float, ...]
    shape: tuple[int, int]
    bins: int
    _: KW_ONLY
    bin_width: float
    pixel: tuple[float, float] = (1.0, 1.0)
    offset: float = 0.0
    center: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        values = {
            "angles": checked_angles(self.angles),
            "shape": image_sizes(self.shape),
            "bins": count("bins", self.bins),
            "bin_width": length("bin_width", self.bin_width),
            "pixel": pixel_pair(self.pixel),
            "offset": finite("offset", self.offset),
            "center": pair("center", self.center),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        nearest = float(self.lines()[2].abs().min())
        if nearest - self.bin_width > self.reach:
            raise ValueError(
                f"no ray meets the image: it lies within {self.reach:.4g} mm of the axis and the nearest bin is "
                f"{nearest:.4g} mm from it. offset is in bins (got {self.offset:g}), center in mm (got {self.center})."
            )

    @property
    def views(self) -> int:
        return len(self.angles)

    @property
    def reach(self) -> float:
        """Distance of the image's farthest corner from the axis, mm."""
        sides = (n * d / 2 + abs(c) for n, d, c in zip(self.shape, self.pixel, self.center, strict=True))
        return math.hypot(*sides)

    @property
    @abstractmethod
    def magnification(self) -> float:
        """Size on the detector over size at the axis, at least 1."""

    @property
    def axis_bin_width(self) -> float:
        """Width of the central bin's beam where it passes the axis, mm."""
        return self.bin_width / self.magnification

    @property
    def rays_per_bin(self) -> int:
        """One ray per pixel of bin width, at the axis."""
        return max(1, math.ceil(self.axis_bin_width / min(self.pixel) - 1e-6))

    @property
    def field_of_view(self) -> float:
        """Radius of the largest circle about the axis that every view sees whole, mm; 0 where the axis is not seen."""
        low, high = self.distances(torch.tensor(self.edges, dtype=torch.float64)).tolist()
        return max(0.0, min(-low, high))

    @property
    def edges(self) -> tuple[float, float]:
        """u of the detector's two ends, mm."""
        low, high = ((end - (self.bins - 1) / 2 + self.offset) * self.bin_width for end in (-0.5, self.bins - 0.5))
        return low, high

    def detector_positions(self, rays: int = 1) -> Tensor:
        """u of the bins' centres, (bins,) float64 mm; of `rays` equally spaced places in each bin, (bins * rays,)."""
        places = (torch.arange(self.bins * rays, dtype=torch.float64) + 0.5) / rays - 0.5
        return (places - (self.bins - 1) / 2 + self.offset) * self.bin_width

    def lines(self, rays: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """cos g, sin g and s of the rays, (bins * rays,) float64 each: x cos(t - g) + y sin(t - g) = s at view t."""
        return self._lines_at(self.detector_positions(rays))

    def edge_lines(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same of the lines between the bins and at both ends, (bins + 1,)."""
        return self._lines_at(torch.linspace(*self.edges, self.bins + 1, dtype=torch.float64))

    def _lines_at(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        g = self.fan_angles(u)
        return g.cos(), g.sin(), self.distances(u)

    @abstractmethod
    def fan_angles(self, u: Tensor) -> Tensor:
        """Angle g of the rays that meet the detector at u, radians, growing with u."""

    @abstractmethod
    def distances(self, u: Tensor) -> Tensor:
        """Signed distance s from the axis of the rays that meet the detector at u, mm."""

    @abstractmethod
    def shadow(self, angle: float, y: Tensor, x: Tensor) -> Tensor:
        """u where the ray through the points (y, x), mm, meets the detector of the view at this angle."""

    def coordinates(self) -> tuple[Tensor, Tensor]:
        """y of the rows' centres, (H,), falling, and x of the columns', (W,), float64 mm."""
        (height, width), (dy, dx), (y, x) = self.shape, self.pixel, self.center
        rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
        return y - rows * dy, x + columns * dx


@dataclass(frozen=True)
class ParallelGeometry(Geometry):
    """Parallel rays; see `Geometry` for the arguments. u is s.

    Example:
        >>> ParallelGeometry([0.0, 0.5], (64, 64), 91, bin_width=1.0).detector_positions()[45].item()
        0.0
    """

    @property
    def magnification(self) -> float:
        return 1.0

    def fan_angles(self, u: Tensor) -> Tensor:
        return torch.zeros_like(u)

    def distances(self, u: Tensor) -> Tensor:
        return u

    def shadow(self, angle: float, y: Tensor, x: Tensor) -> Tensor:
        return x * math.cos(angle) + y * math.sin(angle)


@dataclass(frozen=True)
class FanGeometry(Geometry):
    """Rays from a source on a circle about the axis; see `Geometry` for the other arguments.

    Args:
        source_distance: from the source to the axis, mm.
        detector_distance: from the axis to the detector, mm, 0 or more (0: a virtual detector through the axis).
        detector: "flat", or "curved" on a circle about the source.
    """

    _: KW_ONLY
    source_distance: float
    detector_distance: float
    detector: str = "flat"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("source_distance", "detector_distance"):
            object.__setattr__(self, name, finite(name, getattr(self, name)))
        if self.detector not in ("flat", "curved"):
            raise ValueError(f"detector must be 'flat' or 'curved', got {self.detector!r}.")
        if self.detector_distance < 0:
            raise ValueError(
                f"detector_distance is measured from the axis to the detector and must be 0 or more, got "
                f"{self.detector_distance:g} mm. From the source's distance to the detector subtract source_distance."
            )
        if self.source_distance <= self.reach:
            raise ValueError(
                f"the source lies inside the image: source_distance is {self.source_distance:g} mm and the image "
                f"reaches {self.reach:.4g} mm from the axis. Distances and pixel sizes are both in mm; is one in "
                "another unit?"
            )
        widest = float(self.fan_angles(self.detector_positions()).abs().max())
        if widest >= math.pi / 2:
            raise ValueError(
                f"a curved detector of {self.bins} bins of {self.bin_width:g} mm, {self.source_to_detector:g} mm from "
                "the source, spans more than half a circle. bin_width is an arc length in mm."
            )

    @property
    def source_to_detector(self) -> float:
        return self.source_distance + self.detector_distance

    @property
    def magnification(self) -> float:
        return self.source_to_detector / self.source_distance

    @property
    def short_scan(self) -> float:
        """Least range of angles that measures every line through the field of view, pi + 2 max |g|, radians."""
        edge = max(abs(float(g)) for g in self.fan_angles(self.detector_positions())[[0, -1]])
        return math.pi + 2 * edge

    def fan_angles(self, u: Tensor) -> Tensor:
        ratio = u / self.source_to_detector
        return ratio.atan() if self.detector == "flat" else ratio

    def distances(self, u: Tensor) -> Tensor:
        return self.source_distance * self.fan_angles(u).sin()

    def shadow(self, angle: float, y: Tensor, x: Tensor) -> Tensor:
        across = x * math.cos(angle) + y * math.sin(angle)
        depth = self.source_distance + y * math.cos(angle) - x * math.sin(angle)
        ratio = across / depth if self.detector == "flat" else torch.atan2(across, depth)
        return self.source_to_detector * ratio
