"""A DICOM series as one volume: slices in the order of their positions, values rescaled, and where its voxels lie.

What does not make a regular volume is refused, never repaired: slices of several series, sizes or orientations, slices
twice, gaps, a tilted gantry. Compare `invdiff.data.images_dicom`, which takes slices as they come.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError
from invdiff.data.finite import refuse_nonfinite
from invdiff.data.geometry import Geometry, Vector
from invdiff.data.hdf5 import BUDGET
from invdiff.data.images_dicom import DicomReader, Frame, dicom_frames

_SAME, _UNEVEN = 1e-3, 0.02  # of the slice distance: positions that are one, and distances that are not


@dataclass(frozen=True)
class Series:
    """A volume and its place.

    Attributes:
        volume: (slices, h, w) float32; Hounsfield units for CT.
        geometry: spacing, directions and position.
        modality: "CT", "MR", ... unit: "HU" for CT, else "".
    """

    volume: NDArray[np.float32]
    geometry: Geometry
    modality: str
    unit: str


def read_series(path: str | os.PathLike[str], series: str | None = None, budget: int = BUDGET) -> Series:
    """The series in a folder, or a single file.

    Args:
        path: files of any names, in sub-folders too; what is no DICOM image is left out.
        series: SeriesInstanceUID, where the folder holds several.
        budget: bytes that the volume may have.

    Raises:
        ImportError: pydicom is missing.
        DataError: no images, several series, or slices that are no regular volume; names the slices concerned.
    """
    path = Path(path)
    frames, geometry = series_frames(path, series, budget)
    size = 4 * len(frames) * frames[0].place.shape[0] * frames[0].place.shape[1]
    if size > budget:
        raise DataError(f"makes a volume of {size} bytes, over the budget of {budget}; raise `budget`.", path=path)
    read = DicomReader({(frame.place.path, frame.place.index): frame for frame in frames})
    volume = np.empty((len(frames), *frames[0].place.shape), np.float32)
    for i, frame in enumerate(frames):
        volume[i] = read(frame.place)
        refuse_nonfinite(volume[i], frame.place.path, None, i)
    modality = frames[0].modality
    return Series(volume, geometry, modality, "HU" if modality == "CT" else "")


def series_frames(path: Path, series: str | None = None, budget: int = BUDGET) -> tuple[list[Frame], Geometry]:
    """The slices of a series in order and where they lie, without their pixels.

    Raises:
        ImportError, DataError: as `read_series`.
    """
    frames = _one_series(path, dicom_frames(path, budget)[0], series)
    return frames, _geometry(path, frames)


def _one_series(path: Path, frames: list[Frame], series: str | None) -> list[Frame]:
    found = sorted({frame.order[3] for frame in frames})
    chosen = [frame for frame in frames if series is None or frame.order[3] == series]
    if not chosen or (series is None and len(found) > 1):
        names = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise DataError(f"holds {len(found)} series ({names or 'none'}); pass series=, or one folder for each.",
                        path=path)  # fmt: skip
    first = chosen[0]
    for frame in chosen:
        for what, a, b in (
            ("pixels", frame.place.shape, first.place.shape),
            ("pixel spacing", frame.place.spacing, first.place.spacing),
            ("orientation", _rounded(frame.axes), _rounded(first.axes)),
        ):
            if a != b:
                raise DataError(f"has {what} {a}, the first slice {b}; take it out of the series.",
                                path=frame.place.path)  # fmt: skip
    return chosen


def _rounded(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(round(v, 4) for v in values)


def _geometry(path: Path, frames: list[Frame]) -> Geometry:
    first = frames[0]
    lacking = [frame for frame in frames if frame.position is None]
    if lacking or first.axes is None or first.place.spacing is None:
        what = "ImagePositionPatient" if lacking else "ImageOrientationPatient or PixelSpacing"
        raise DataError(
            f"lacks {what}, so slices cannot be put in their places.", path=(lacking or frames)[0].place.path
        )
    columns, rows = np.array(first.axes[:3]), np.array(first.axes[3:])
    distance = _distance(path, frames, np.cross(columns, rows))
    spacing = (*first.place.spacing, distance)
    h, w = first.place.shape
    centre = np.array(first.position) + spacing[0] * (h // 2) * rows + spacing[1] * (w // 2) * columns
    directions = (_vector(rows), _vector(columns), _vector(np.cross(columns, rows)))
    try:
        return Geometry(spacing, directions, _vector(centre))
    except ValueError as error:
        raise DataError(str(error), path=path) from error


def _distance(path: Path, frames: list[Frame], normal: NDArray[np.float64]) -> float:
    """Distance of the slices, mm."""
    positions = np.array([frame.position for frame in frames])
    if len(frames) == 1:
        return frames[0].thickness or 1.0
    along = positions @ normal
    steps = np.diff(along)
    step = float(np.median(steps))
    for i in np.flatnonzero(steps < max(_SAME * step, 1e-6)):
        raise DataError(f"lies where {frames[i].place.path.name} does ({along[i]:.2f} mm): a slice is there twice.",
                        path=frames[i + 1].place.path)  # fmt: skip
    for i in np.flatnonzero(np.abs(steps - step) > _UNEVEN * step):
        raise DataError(f"follows {frames[i].place.path.name} after {steps[i]:.2f} mm where slices are {step:.2f} mm "
                        "apart; slices are missing.", path=frames[i + 1].place.path)  # fmt: skip
    aside = positions - positions[0] - np.outer(along - along[0], normal)
    if np.abs(aside).max() > 0.1 * step:
        raise DataError("its slices are shifted against each other, as with a tilted gantry; shear it to a regular "
                        "volume first.", path=path)  # fmt: skip
    return step


def _vector(values: NDArray[np.float64]) -> Vector:
    a, b, c = (float(v) for v in values)
    return a, b, c
