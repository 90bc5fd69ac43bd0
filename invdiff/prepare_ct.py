"""p = A mu + n: a slice of a file of projections with its projector, weights and scale, ready to solve.

Counts become line integrals; their noise, where the file tells of photons, weighs the rays. Images are written in
Hounsfield units.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.data.beam import Beam
from invdiff.data.errors import DataError
from invdiff.data.geometry import Geometry
from invdiff.data.header import Header
from invdiff.data.projections import ProjectionFile
from invdiff.operators.ct import Projector
from invdiff.operators.ct_geometry import FanGeometry, ParallelGeometry
from invdiff.operators.ct_geometry import Geometry as ScanGeometry
from invdiff.scan import FileScan, Slice
from invdiff.settings import UsageError
from invdiff.units import MU_WATER, mu_to_hu


@dataclass(frozen=True)
class ProjectionScan(FileScan[ProjectionFile]):
    """A file of projections and what is to be done with it.

    Attributes:
        size: (h, w) of the image; None takes the file's, else what covers the field of view.
        pixel: its size, mm; None takes the file's, else the width of a bin at the axis.
        views: so many views are kept, spread evenly over the list; None keeps all.
        mu_water: attenuation of water, mm^-1, for Hounsfield units; None takes the scanner's, else 0.0193.
        weighted: weigh every ray by its own noise, and not all by their root mean square. Right for starved rays, but
            least squares then take more iterations; rays of dead bins are left out in either case.
    """

    size: tuple[int, int] | None = None
    pixel: float | None = None
    views: int | None = None
    mu_water: float | None = None
    weighted: bool = False
    prior: str = field(default="ct", init=False)
    baseline: str = field(default="fbp", init=False)
    unit: str = field(default="HU", init=False)

    def __post_init__(self) -> None:
        table = self.file.contents.table
        if table is not None:
            travel = float(table.max() - table.min())
            raise DataError(f"is a helical scan: the table moves by {travel:.1f} mm. Rebin it to fan beams of resting "
                            "slices first.", path=self.path)  # fmt: skip
        if self.mu_water is not None:
            require("mu_water", self.mu_water, above=0)
        if self.weighted and not self.file.tells_noise():
            raise UsageError(
                f"--weighted weighs rays by their counts, and {self.path.name} holds line integrals without photons "
                "that tell their noise; store these (`photons`), or leave out --weighted."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, h, w)."""
        return self.file.n_slices, *self.projector.geometry.shape

    @property
    def geometry(self) -> Geometry | None:
        """Spacing; the orientation of a scanner's images is no part of its projections."""
        dy, dx = self.projector.geometry.pixel
        return Geometry((dy, dx, self.file.contents.spacing or dy))

    @property
    def header(self) -> Header | None:
        return None

    @property
    def water(self) -> float:
        """Attenuation of water, mm^-1."""
        return self.mu_water or self.file.contents.mu_water or MU_WATER

    @cached_property
    def kept(self) -> Tensor:
        """Indices of the views that are used."""
        total = self.file.shape[1]
        if self.views is None:
            return torch.arange(total)
        require("views", self.views, at_least=1, at_most=total)
        return torch.arange(self.views) * total // self.views

    @cached_property
    def projector(self) -> Projector:
        """A, of all slices."""
        beam = self.file.beam
        try:
            return Projector(scan_geometry(replace(beam, angles=beam.angles[self.kept]), self.size, self.pixel))
        except ValueError as error:
            raise DataError(str(error), path=self.path) from error

    def slice(self, i: int) -> Slice:
        """Slice i: line integrals (1, 1, view, bin), their noise by ray, and the reference in HU."""
        p, variance = self.file.line_integrals(i)
        p, variance = p[self.kept], None if variance is None else variance[self.kept]
        reference = self.file.reference(i) if self.file.contents.attenuation else None
        if reference is not None:
            reference = mu_to_hu(reference, self.water)
        kept = "" if self.views is None else f" of {self.file.shape[1]}"
        return Slice(
            p[None, None],
            self.projector,
            f"{len(self.kept)}{kept} views",
            reference,
            sigma_y=None if variance is None else self._noise(variance[None, None]),
            image=partial(_hounsfield, mu_water=self.water),
            data_range=None if reference is None else float(reference.max() - reference.min()),
        )

    def _noise(self, variance: Tensor) -> Tensor | float:
        """Standard deviation of the rays, (1, 1, view, bin), or one for all."""
        used = variance.isfinite()
        if self.weighted:
            return variance.sqrt()
        level = variance[used].mean().sqrt()
        return float(level) if bool(used.all()) else torch.where(used, level, torch.inf)

    def record(self) -> dict[str, Any]:
        """How slices are made, for the attributes of the output."""
        return {
            "notes": "; ".join(self.file.contents.notes),
            "units": self.unit,
            "mu_water_per_mm": self.water,
            "views": len(self.kept),
            "weighted": self.weighted,
        }


def scan_geometry(beam: Beam, size: tuple[int, int] | None = None, pixel: float | None = None) -> ScanGeometry:
    """The geometry of a projector for a file's beam.

    Args:
        size: (H, W) of the image; None takes the file's, else a square that holds the field of view.
        pixel: mm; None takes the file's, scaled where the size is another, else the width of a bin at the axis.

    Raises:
        ValueError: values that make no scan.
    """
    width = beam.bin_width / beam.magnification
    if pixel is None:
        scale = beam.shape[1] / size[1] if size is not None and beam.shape is not None else 1.0
        pixel = width if beam.pixel is None else beam.pixel * scale
    if size is None:
        side = math.ceil((beam.bins - 2 * abs(beam.offset)) * width / pixel)
        size = beam.shape if beam.shape is not None and beam.pixel == pixel else (side, side)
    angles: Any = beam.angles.tolist()
    common: dict[str, Any] = {"bin_width": beam.bin_width, "pixel": (pixel, pixel), "offset": beam.offset}
    if beam.source_distance is None or beam.detector_distance is None:
        return ParallelGeometry(angles, size, beam.bins, **common)
    return FanGeometry(
        angles,
        size,
        beam.bins,
        source_distance=beam.source_distance,
        detector_distance=beam.detector_distance,
        detector=beam.detector,
        **common,
    )


def _hounsfield(x: Tensor, mu_water: float) -> Tensor:
    """(1, 1, H, W) mm^-1 to (H, W) HU."""
    return mu_to_hu(x[0, 0], mu_water)
