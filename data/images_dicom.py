"""x = stored * RescaleSlope + RescaleIntercept: slices of DICOM files; for CT these are Hounsfield units.

Slices are sorted by patient, study, series and position along the slice normal. Needs pydicom
(`pip install invdiff[io]`); compressed pixels also need the codec that pydicom names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from invdiff.data.errors import DataError
from invdiff.data.folders import ending, files_under, is_dicom, part_of
from invdiff.data.hdf5 import BUDGET
from invdiff.data.image_source import ImageSource, Pixels, Place

AIR = -1000.0  # HU
_TAGS = [
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Modality"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PixelPaddingValue"),
    *("BitsAllocated", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "SliceThickness"),
]
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_MODALITIES = ("CT", "MR")


@dataclass(frozen=True)
class Frame:
    """A place with what orders it, what scales its pixels, and where they lie.

    Attributes:
        order: patient, study, series number, series, and position along the slice normal, mm (without a position, the
            number of the image).
        position: of the centre of the first pixel, LPS mm, or None.
        axes: unit vectors along which columns and rows are counted, six numbers, or None.
        thickness: of the slice, mm, or None.
    """

    place: Place
    modality: str
    order: tuple[str, str, int, str, float]
    slope: float
    intercept: float
    padding: int | None
    position: tuple[float, ...] | None = None
    axes: tuple[float, ...] | None = None
    thickness: float | None = None


def open_dicom(path: Path, *, budget: int = BUDGET) -> ImageSource:
    """Slices of a DICOM file, or of all in a folder (any file names; other files are counted and left out).

    The subject is PatientID. Objects without pixels by kind (structured reports, contours) are left out and counted.
    CT pixels with the PixelPaddingValue, outside the scanned circle, become -1000 HU, air.

    Raises:
        ImportError: pydicom is missing.
        DataError: an image without its pixels, in colour or inverted; several modalities.
    """
    frames, left = dicom_frames(path, budget)
    modality = frames[0].modality if frames else ""
    note = f"{left} other file{'s' * (left != 1)} left out" if left else ""
    known = modality if modality in _MODALITIES else ""
    scales = {(x.place.path, x.place.index): x for x in frames}
    places = [x.place for x in frames]
    return ImageSource(path, places, DicomReader(scales), "magnitude", known, "HU" * (modality == "CT"), note)


def dicom_frames(path: Path, budget: int = BUDGET) -> tuple[list[Frame], int]:
    """The images of a file or folder in order, without their pixels, and the number of files that hold none.

    Raises:
        ImportError, DataError: as `open_dicom`.
    """
    files = files_under(path)
    headers = {f: _header(f, single=f == path) for f in tqdm(files, unit="file", disable=None, leave=False)}
    images = {f: h for f, h in headers.items() if h is not None and "Rows" in h}
    frames = sorted((x for f, h in images.items() for x in _frames(path, f, h, budget)), key=lambda x: x.order)
    modalities = {frame.modality for frame in frames}
    if len(modalities) > 1:
        raise DataError(f"holds images of several modalities ({', '.join(sorted(modalities))}); open them apart.",
                        path=path)  # fmt: skip
    return frames, len(files) - len(images)


@dataclass(frozen=True)
class DicomReader:
    """Reads and scales the pixels of one frame."""

    frames: dict[tuple[Path, int | None], Frame]

    def __call__(self, place: Place) -> Pixels:
        from pydicom.pixels.utils import pixel_array

        frame = self.frames[place.path, place.index]
        stored = explained(place.path, lambda: pixel_array(place.path, index=place.index or 0))
        values = np.asarray(stored, np.float64) * frame.slope + frame.intercept
        if frame.modality == "CT" and frame.padding is not None:
            values[stored == frame.padding] = AIR
        return values


def _header(path: Path, single: bool) -> Any | None:
    """The attributes in _TAGS without the pixels, or None where it is no DICOM file."""
    try:
        import pydicom
    except ImportError as error:
        raise ImportError("DICOM files are read with pydicom; pip install invdiff[io].") from error
    if not is_dicom(path) and not single and ending(path) not in (".dcm", ".ima"):
        return None
    return explained(path, lambda: pydicom.dcmread(path, specific_tags=_TAGS, defer_size=4096))


def explained(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ImportError:
        raise
    except Exception as error:  # damage and missing codecs arrive as AttributeError, ValueError, RuntimeError, ...
        raise DataError(f"cannot be read ({type(error).__name__}: {error}).", path=path) from error


def _frames(root: Path, path: Path, header: Any, budget: int) -> list[Frame]:
    _check(path, header, budget)
    count = int(header.get("NumberOfFrames") or 1)
    shape = (int(header.Rows), int(header.Columns))
    subject, part = str(header.get("PatientID", "")), part_of(root, path)
    out = []
    for i in range(count):
        spacing = _value(header, i, "PixelMeasuresSequence", "PixelSpacing")
        slope = _value(header, i, "PixelValueTransformationSequence", "RescaleSlope")
        intercept = _value(header, i, "PixelValueTransformationSequence", "RescaleIntercept")
        mm = None if spacing is None else (float(spacing[0]), float(spacing[1]))
        place = Place(path, shape, subject, part, None, i if count > 1 else None, mm)
        scale = 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
        padding = header.get("PixelPaddingValue")
        modality = str(header.get("Modality", ""))
        position, axes = _position(header, i), _axes(header, i)
        order, known = _order(header, i, position, axes), None if padding is None else int(padding)
        out.append(Frame(place, modality, order, *scale, known, position, axes, _thickness(header, i)))
    return out


def _position(header: Any, i: int) -> tuple[float, ...] | None:
    value = _value(header, i, "PlanePositionSequence", "ImagePositionPatient")
    return None if value is None else tuple(float(v) for v in value)


def _axes(header: Any, i: int) -> tuple[float, ...] | None:
    value = _value(header, i, "PlaneOrientationSequence", "ImageOrientationPatient")
    return None if value is None else tuple(float(v) for v in value)


def _thickness(header: Any, i: int) -> float | None:
    value = _value(header, i, "PixelMeasuresSequence", "SliceThickness")
    return None if value in (None, "") else float(value)


def _check(path: Path, header: Any, budget: int) -> None:
    if not any(name in header for name in _PIXELS):
        raise DataError("is an image without pixel data; the copy is incomplete, export it again.", path=path)
    kind = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    if int(header.get("SamplesPerPixel", 1)) != 1 or kind != "MONOCHROME2":
        raise DataError(f"holds {kind} pixels; wanted MONOCHROME2 (grey, larger values brighter).", path=path)
    declared = int(header.Rows) * int(header.Columns) * int(header.get("BitsAllocated", 16)) // 8
    if not 0 < declared <= budget:
        raise DataError(f"declares {header.Rows} x {header.Columns} pixels, {declared} bytes, and the budget is "
                        f"{budget}.", path=path)  # fmt: skip


def _value(header: Any, i: int, sequence: str, name: str) -> Any | None:
    """An attribute of frame i: its own, that of all frames, or that of the file."""
    groups = [header.get("PerFrameFunctionalGroupsSequence") or [], header.get("SharedFunctionalGroupsSequence") or []]
    for group in (groups[0][i : i + 1], groups[1][:1]):
        for item in group:
            inner = item.get(sequence) or [{}]
            if inner[0].get(name) is not None:
                return inner[0].get(name)
    return header.get(name)


def _order(
    header: Any, i: int, position: tuple[float, ...] | None, axes: tuple[float, ...] | None
) -> tuple[str, str, int, str, float]:
    if position is None or axes is None:
        along = float(header.get("InstanceNumber") or 0) + i
    else:
        along = float(np.cross(axes[:3], axes[3:]) @ position)
    study, series = str(header.get("StudyInstanceUID", "")), str(header.get("SeriesInstanceUID", ""))
    return str(header.get("PatientID", "")), study, int(header.get("SeriesNumber") or 0), series, along
