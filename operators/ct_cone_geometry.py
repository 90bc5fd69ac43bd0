"""z = v depth / D: where the rays of a circular cone-beam scan with a flat detector run.

The convention of `ct_geometry` with an axis z along the rotation axis, towards the reader of the plane (x right, y up):
the source of view t is at source_distance (sin t, -cos t, 0), bins count along (cos t, sin t, 0) and rows along z. The
plane z = 0 is a fan beam. Over it, the ray that meets the detector at (u, v) climbs: at the distance `depth` from the
source, measured along the central ray, it is at z = v depth / D, D = source_distance + detector_distance.

Slice k of a volume (D, H, W) is at z = (k - (D - 1) / 2) dz, plus `center`, and row r of the detector at
v = (r - (rows - 1) / 2 + offset) row_height: slice 0 and row 0 are the lowest. Projections stored from the top are
y.flip(-2).
"""

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import torch
from torch import Tensor

from invdiff.operators.ct_checks import count, length, numbers, pixel_sizes, volume_sizes
from invdiff.operators.ct_geometry import FanGeometry


@dataclass(frozen=True)
class ConeGeometry:
    """A circular cone-beam scan.

    Args:
        angles: of the views, radians, any order and spacing, (view,). Kept as a tuple.
        shape: (D, H, W) of the volume.
        rows, bins: of the detector.
        source_distance: from the source to the axis, mm.
        detector_distance: from the axis to the detector, mm, 0 or more.
        bin_width, row_height: of a bin on the detector, mm.
        pixel: size (dz, dy, dx) of a voxel, mm; one number for cubes.
        offset: displacement of the detector (rows, bins), in bins, towards larger v and u.
        center: (z, y, x) of the volume's centre, mm from the axis and the plane of the source.

    Raises:
        ValueError: values that make no scan; the message says which and what to do.
    """

    angles: tuple[float, ...]
    shape: tuple[int, int, int]
    rows: int
    bins: int
    _: KW_ONLY
    source_distance: float
    detector_distance: float
    bin_width: float
    row_height: float
    pixel: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        values = {
            "shape": volume_sizes(self.shape),
            "rows": count("rows", self.rows),
            "row_height": length("row_height", self.row_height),
            "pixel": pixel_sizes(self.pixel, ("dz", "dy", "dx")),
            "offset": numbers("offset", self.offset, ("rows", "bins"), "bins"),
            "center": numbers("center", self.center, ("z", "y", "x"), "mm"),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        for name in ("angles", "bins", "bin_width", "source_distance", "detector_distance"):
            object.__setattr__(self, name, getattr(self.fan, name))
        self._check_heights()

    def _check_heights(self) -> None:
        (low, high), (bottom, top) = self.row_edges, self.z_range
        nearest, farthest = (
            (self.fan.source_distance + r) / self.fan.source_to_detector for r in (-self.reach, self.reach)
        )
        if max(high * nearest, high * farthest) < bottom or min(low * nearest, low * farthest) > top:
            raise ValueError(
                f"no ray meets the volume: it lies at z = {bottom:.4g} to {top:.4g} mm and the rows of the detector "
                f"at {low:.4g} to {high:.4g} mm. offset is in bins (got {self.offset[0]:g}), center in mm (got "
                f"{self.center[0]:g})."
            )
        climb, dz = max(-low, high) / self.fan.source_to_detector * math.hypot(*self.pixel[1:]), self.pixel[0]
        if climb > dz * (1 + 1e-6):
            raise ValueError(
                f"the steepest rays climb {climb:.4g} mm within a voxel of {dz:g} mm height, skipping slices: they "
                "are followed along x or y. Use higher voxels (pixel=(dz, dy, dx)), narrower ones, or fewer rows."
            )

    @cached_property
    def fan(self) -> FanGeometry:
        """The scan within the plane z = 0."""
        return FanGeometry(
            self.angles,
            self.shape[1:],
            self.bins,
            bin_width=self.bin_width,
            pixel=self.pixel[1:],
            offset=self.offset[1],
            center=self.center[1:],
            source_distance=self.source_distance,
            detector_distance=self.detector_distance,
        )

    @property
    def views(self) -> int:
        return len(self.angles)

    @property
    def reach(self) -> float:
        """Distance of the volume's farthest edge from the axis, mm."""
        return self.fan.reach

    @property
    def rays_per_row(self) -> int:
        """One ray per voxel of row height, at the axis."""
        return max(1, math.ceil(self.row_height / self.fan.magnification / self.pixel[0] - 1e-6))

    @property
    def z_range(self) -> tuple[float, float]:
        """z of the volume's lower and upper face, mm."""
        half = self.shape[0] * self.pixel[0] / 2
        return self.center[0] - half, self.center[0] + half

    @property
    def row_edges(self) -> tuple[float, float]:
        """v of the detector's lower and upper end, mm."""
        low, high = ((e - (self.rows - 1) / 2 + self.offset[0]) * self.row_height for e in (-0.5, self.rows - 0.5))
        return low, high

    def row_positions(self, rays: int = 1) -> Tensor:
        """v of the rows' centres, (rows,) float64 mm; of `rays` equally spaced places in each, (rows * rays,)."""
        places = (torch.arange(self.rows * rays, dtype=torch.float64) + 0.5) / rays - 0.5
        return (places - (self.rows - 1) / 2 + self.offset[0]) * self.row_height

    def heights(self) -> Tensor:
        """z of the slices' centres, (D,), rising, float64 mm."""
        slices = torch.arange(self.shape[0], dtype=torch.float64) - (self.shape[0] - 1) / 2
        return self.center[0] + slices * self.pixel[0]

    def depth(self, angle: float, y: Tensor, x: Tensor) -> Tensor:
        """Distance of points (y, x), mm, from the source, measured along the central ray of the view at this angle."""
        return self.source_distance + y * math.cos(angle) - x * math.sin(angle)
