"""x cos t + y sin t = s: where the rays of a scan ran, as a file tells it.

Axes and signs are those of `invdiff.operators.ct_geometry`: the axis of rotation is the origin, x points right and y up
in the image, the source of view t is at source_distance (sin t, -cos t), and bins count along (cos t, sin t). Nothing
here loads torch, so that readers start fast in a process of their own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdiff.checks import nearest


@dataclass(frozen=True)
class Beam:
    """Geometry of a two-dimensional scan.

    Attributes:
        angles: of the views, radians, (view,) float64.
        bins: number of detector bins. bin_width: mm on the detector. offset: displacement of the detector, in bins.
        source_distance: source to axis, mm; None for a parallel beam.
        detector_distance: axis to detector, mm; None for a parallel beam.
        detector: "flat" or "curved" about the source.
        shape, pixel: (H, W) and pixel size in mm of the image that belongs to the scan, where the file tells.

    Raises:
        ValueError: a value out of range; the message names it.
    """

    angles: NDArray[np.float64]
    bins: int
    bin_width: float
    offset: float = 0.0
    source_distance: float | None = None
    detector_distance: float | None = None
    detector: str = "flat"
    shape: tuple[int, int] | None = None
    pixel: float | None = None

    def __post_init__(self) -> None:
        angles = np.asarray(self.angles, np.float64)
        if angles.ndim != 1 or angles.size == 0 or not np.isfinite(angles).all():
            raise ValueError(f"angles must be finite numbers (view,), got {angles.dtype} {angles.shape}.")
        object.__setattr__(self, "angles", angles)
        lengths = {"bin_width": self.bin_width, "pixel": self.pixel, "source_distance": self.source_distance}
        for name, value in lengths.items():
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is a length in mm and must be positive, got {value}.")
        if (self.source_distance is None) != (self.detector_distance is None):
            raise ValueError("a fan beam has source_distance and detector_distance (axis to detector), a parallel beam "
                             "neither; one of them is missing.")  # fmt: skip
        if self.detector_distance is not None and not 0 <= self.detector_distance < math.inf:
            raise ValueError(f"detector_distance runs from the axis to the detector, mm, 0 or more, got "
                             f"{self.detector_distance}.")  # fmt: skip
        if self.detector not in ("flat", "curved"):
            raise ValueError(f"detector must be 'flat' or 'curved', got {self.detector!r}.")
        if not math.isfinite(self.offset):
            raise ValueError(f"offset must be a finite number of bins, got {self.offset}.")
        if self.shape is not None and (len(self.shape) != 2 or min(self.shape) < 1):
            raise ValueError(f"shape must be (H, W) of the image, got {self.shape}.")

    @property
    def fan(self) -> bool:
        return self.source_distance is not None

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the axis."""
        if self.source_distance is None or self.detector_distance is None:
            return 1.0
        return 1 + self.detector_distance / self.source_distance

    @property
    def views(self) -> int:
        return len(self.angles)


NUMBERS = [f.name for f in fields(Beam) if f.name not in ("angles", "bins")]
ANGLES = ("angles", "angles_deg", "first_deg", "step_deg")


def beam_from(values: Mapping[str, Any], views: int, bins: int) -> Beam:
    """The geometry that named values describe.

    Args:
        values: the attributes of `Beam` by name, and angles as one of `angles` (radians), `angles_deg`, or `first_deg`
            and `step_deg`. Values that are None are left out.
        views, bins: of the projections.

    Raises:
        ValueError: a name that is not known, no angles or bin width, or angles of another number than the views.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for name in given:
        if name not in (*NUMBERS, *ANGLES):
            raise ValueError(f"no geometry value is called {name!r}.{nearest(name, (*NUMBERS, *ANGLES))}")
    if "bin_width" not in given:
        raise ValueError("the geometry lacks bin_width, the width of a detector bin in mm.")
    angles = _angles(given, views)
    if len(angles) != views:
        raise ValueError(f"there are {len(angles)} angles for {views} views.")
    shape = given.get("shape")
    numbers = {name: float(given[name]) for name in NUMBERS if name in given and name not in ("detector", "shape")}
    return Beam(
        angles,
        bins,
        detector=str(given.get("detector", "flat")),
        shape=None if shape is None else (int(shape[0]), int(shape[1])),
        **numbers,
    )


def _angles(given: Mapping[str, Any], views: int) -> NDArray[np.float64]:
    if "angles" in given:
        angles = np.atleast_1d(np.asarray(given["angles"], np.float64))
        if angles.size and np.abs(angles).max() > 4 * math.pi:
            raise ValueError(f"angles are in radians and reach {np.abs(angles).max():g}; name degrees angles_deg.")
        return angles
    if "angles_deg" in given:
        return np.deg2rad(np.atleast_1d(np.asarray(given["angles_deg"], np.float64)))
    if "step_deg" in given:
        first = float(given.get("first_deg", 0.0))
        return np.deg2rad(first + float(given["step_deg"]) * np.arange(views))
    raise ValueError("the geometry lacks angles: give angles (radians), angles_deg, or first_deg and step_deg.")


def central_rows(beam: Beam, rows: int, height: float | None, cone_deg: float = 1.0) -> tuple[int, int]:
    """Rows first <= r < last of a detector whose rays leave the plane of the source by at most `cone_deg`.

    At least the one in the middle; all of a parallel beam. Each may then be taken as a fan beam of its own.

    Args:
        rows: of the detector. height: of a row on the detector, mm.
    """
    if beam.source_distance is None or beam.detector_distance is None or height is None:
        return 0, rows
    reach = (beam.source_distance + beam.detector_distance) * math.tan(math.radians(cone_deg)) / height
    first = min(max(0, math.ceil((rows - 1) / 2 - reach)), rows // 2)
    return first, max(rows - first, first + 1)
