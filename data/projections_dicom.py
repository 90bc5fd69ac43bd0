"""p = stored x RescaleSlope + RescaleIntercept: DICOM-CT-PD projections, one file for each view.

The private groups 7029, 7031 and 7033 hold the geometry. With rho the distance of the focal spot from the axis and phi
its angle (radians), the source is at (-rho sin phi, rho cos phi), so that our angle is phi + pi. Pixels are stored with
a row for each detector column. Values are line integrals, corrected by the scanner.

Rows of the detector become slices: each is taken as a fan beam of its own, which is right near the plane of the source
alone, and for a table that rests. Whether a scanner's columns run along or against our bins cannot be seen in a file:
`mirrored` exchanges their order, which mirrors the image.

Source: Chen, Leng, Yu, Holmes, Fletcher and McCollough, An Open Library of CT Patient Projection Data, 2016, and the
dictionary of DICOM-CT-PD; Moen et al., Low-Dose CT Image and Projection Dataset, 2021.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from invdiff.data.beam import Beam, central_rows
from invdiff.data.errors import DataError
from invdiff.data.folders import files_under, is_dicom
from invdiff.data.hdf5 import BUDGET
from invdiff.data.images_dicom import explained
from invdiff.data.projections_contents import ProjectionContents, ProjectionReader

_SHAPES = {"CYLINDRICAL": "curved", "SPHERICAL": "curved", "FLAT": "flat"}
_TAGS: dict[str, tuple[int, int]] = {
    "phi": (0x7031, 0x1001),
    "z": (0x7031, 0x1002),
    "rho": (0x7031, 0x1003),
    "to_detector": (0x7031, 0x1031),
    "central": (0x7031, 0x1033),
    "width": (0x7029, 0x1002),
    "height": (0x7029, 0x1006),
    "detector": (0x7029, 0x100B),
    "rows": (0x7029, 0x1010),
    "columns": (0x7029, 0x1011),
    "shift_phi": (0x7033, 0x100B),
    "shift_z": (0x7033, 0x100C),
    "shift_rho": (0x7033, 0x100D),
    "mu_water": (0x7041, 0x1001),
}
_REQUIRED = ("phi", "z", "rho", "to_detector", "central", "width", "height", "rows", "columns")
_STANDARD = ["Rows", "Columns", "BitsAllocated", "RescaleSlope", "RescaleIntercept", "InstanceNumber", "PatientID"]
_REST = 0.5  # rows of table travel during a scan that still count as none


@dataclass(frozen=True)
class View:
    """The header of one file."""

    path: Path
    number: int
    phi: float
    z: float
    slope: float
    intercept: float
    shift: float


@dataclass(frozen=True)
class DicomProjectionReader(ProjectionReader):
    """Detector rows of the views; all pixels are read at once and kept."""

    views: tuple[View, ...]
    first: int
    mirrored: bool

    def projections(self, i: int) -> NDArray[np.float32]:
        rows = _pixels(self.views)[:, :, self.first + i]
        return np.ascontiguousarray(rows[:, ::-1] if self.mirrored else rows)


def open_dicom_projections(
    path: Path,
    *,
    mirrored: bool = False,
    focal_spot: bool = True,
    cone_deg: float = 1.0,
    budget: int = BUDGET,
) -> ProjectionContents:
    """Headers of all projections in a folder (or of the folder of one file), in the order of InstanceNumber.

    Args:
        path: the folder.
        mirrored: exchange the order of the detector columns.
        focal_spot: refuse scans whose focal spot moves within the tube, which is not modelled; False takes it as
            resting.
        cone_deg: leave out rows that are tilted by more against the plane of the source.
        budget: bytes that all pixels together may have.

    Raises:
        ImportError: pydicom is missing.
        DataError: no projections, an attribute that is missing, or views of different sizes.
    """
    folder = path if path.is_dir() else path.parent
    found = [_view(f, budget) for f in tqdm(files_under(folder), unit="file", disable=None, leave=False)]
    read = sorted((pair for pair in found if pair is not None), key=lambda pair: (pair[0].number, str(pair[0].path)))
    if not read:
        raise DataError("holds no DICOM-CT-PD projections; images are opened by invdiff.data.dicom_series.", path=path)
    views, facts = tuple(view for view, _ in read), read[0][1]
    _consistent(read, budget)
    if focal_spot and any(abs(view.shift) > 0 for view in views):
        raise DataError("was measured with a flying focal spot, which is not modelled; focal_spot=False takes it as "
                        "resting, at the cost of some sharpness.", path=path)  # fmt: skip
    beam = _beam(path, views, facts, -1.0 if mirrored else 1.0)
    rows, z = int(facts["rows"]), np.array([view.z for view in views])
    first, last = central_rows(beam, rows, facts["height"], cone_deg)
    notes = [f"{rows - last + first} of {rows} detector rows left out"] if last - first < rows else []
    spacing = float(facts["height"]) / beam.magnification
    return ProjectionContents(
        (last - first, len(views), beam.bins),
        "integrals",
        beam,
        DicomProjectionReader(folder, views, first, mirrored),
        table=z if np.ptp(z) > _REST * spacing else None,
        spacing=spacing,
        mu_water=facts.get("mu_water"),
        notes=tuple(notes),
    )


def _beam(path: Path, views: tuple[View, ...], facts: dict[str, Any], sign: float) -> Beam:
    columns = int(facts["columns"])
    central = float(np.atleast_1d(facts["central"])[0])  # counted from 1
    try:
        return Beam(
            np.mod(np.array([view.phi for view in views]) + math.pi, 2 * math.pi),
            columns,
            float(facts["width"]),
            offset=sign * ((columns - 1) / 2 - (central - 1)),
            source_distance=float(facts["rho"]),
            detector_distance=float(facts["to_detector"]) - float(facts["rho"]),
            detector=_SHAPES.get(str(facts.get("detector", "CYLINDRICAL")).strip().upper(), "curved"),
        )
    except ValueError as error:
        raise DataError(str(error), path=path) from error


def _view(path: Path, budget: int) -> tuple[View, dict[str, Any]] | None:
    """A view and the facts of its header, None where the file holds no projection."""
    try:
        import pydicom
    except ImportError as error:
        raise ImportError("DICOM files are read with pydicom; pip install invdiff[io].") from error
    if not is_dicom(path):
        return None
    tags: list[Any] = [*_STANDARD, *_TAGS.values()]
    header = explained(path, lambda: pydicom.dcmread(path, specific_tags=tags, stop_before_pixels=True))
    facts: dict[str, Any] = explained(path, lambda: {n: _number(header[t]) for n, t in _TAGS.items() if t in header})
    if "phi" not in facts:
        return None
    lacking = [n for n in _REQUIRED if facts.get(n) is None] + [n for n in ("Rows", "Columns") if n not in header]
    if lacking:
        raise DataError(f"lacks the attributes of DICOM-CT-PD for {', '.join(lacking)}.", path=path)
    facts["size"] = int(header.Rows), int(header.Columns)
    number = int(header.get("InstanceNumber") or 0)
    slope, intercept = float(header.get("RescaleSlope") or 1.0), float(header.get("RescaleIntercept") or 0.0)
    shift = max(abs(float(facts.get(n) or 0.0)) for n in ("shift_phi", "shift_z", "shift_rho"))
    return View(path, number, float(facts["phi"]), float(facts["z"]), slope, intercept, shift), facts


def _number(element: Any) -> Any:
    """The value of an element; files in implicit or private representation keep it as bytes."""
    value = element.value
    if not isinstance(value, bytes):
        return value
    if element.tag in (0x7029100B,):
        return value.decode("ascii", "replace")
    kind = "<u2" if element.tag in (0x70291010, 0x70291011) else "<f4"
    numbers = np.frombuffer(value, kind)
    return numbers.tolist() if len(numbers) > 1 else float(numbers[0])


def _consistent(read: list[tuple[View, dict[str, Any]]], budget: int) -> None:
    facts = read[0][1]
    size = facts["size"]
    for view, other in read:
        odd = [n for n in ("size", "rows", "columns", "rho", "to_detector", "width") if other[n] != facts[n]]
        if odd:
            raise DataError(f"differs from the other views in {', '.join(odd)}; keep one scan in a folder.",
                            path=view.path)  # fmt: skip
    if size != (int(facts["columns"]), int(facts["rows"])):
        raise DataError(f"has {size[0]} x {size[1]} pixels for {facts['columns']} detector columns x {facts['rows']} "
                        "rows.", path=read[0][0].path)  # fmt: skip
    declared = 4 * len(read) * math.prod(size)
    if declared > budget:
        raise DataError(f"and the other views declare {declared} bytes, over the budget of {budget}; raise `budget`.",
                        path=read[0][0].path)  # fmt: skip


@lru_cache(maxsize=1)
def _pixels(views: tuple[View, ...]) -> NDArray[np.float32]:
    """(view, column, row) float32."""
    return np.stack([_one(view) for view in views])


def _one(view: View) -> NDArray[np.float32]:
    from pydicom.pixels.utils import pixel_array

    stored = explained(view.path, lambda: pixel_array(view.path))
    return np.asarray(stored * view.slope + view.intercept, np.float32)
