"""value = stored x scale: a volume as a DICOM series of derived MR images, one file for each slice.

The images say of themselves that they are derived, secondary and not for diagnosis. Needs pydicom
(`pip install invdiff[io]`). Source: DICOM PS3.3, the MR Image IOD (A.4) and its modules.
"""

import hashlib
import io
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invdiff.data.atomic import write_files, write_folder
from invdiff.data.errors import DataError
from invdiff.data.geometry import Geometry
from invdiff.data.header import Header
from invdiff.data.writer import real_volume

_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_WHITE = 4095  # the largest stored value, 12 bits as scanners have it

# What the modules of the MR Image IOD ask for: type 1 must have a value, type 2 must be there and may be empty.
_FILLED = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality"),
    *("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "ImageType", "SamplesPerPixel", "Rows"),
    *("Columns", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelData", "ScanningSequence", "SequenceVariant", "DerivationDescription"),
)
_PRESENT = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "Laterality", "PatientPosition", "Manufacturer"),
    *("PositionReferenceIndicator", "InstanceNumber", "SliceThickness", "ScanOptions", "MRAcquisitionType"),
    *("RepetitionTime", "EchoTime", "EchoTrainLength"),
)


def write_dicom(
    path: str | os.PathLike[str],
    images: Tensor | NDArray[np.floating],
    geometry: Geometry | None,
    *,
    header: Header | None = None,
    patient: Mapping[str, str] | None = None,
    description: str = "",
    overwrite: bool = False,
) -> list[Path]:
    """Write a series.

    Identifiers follow from the pixels and the description, so that the same result has the same ones.

    Args:
        path: a folder, which gets `0001.dcm`, `0002.dcm`, ...; or a name ending in .dcm for a single slice.
        images: (slices, h, w) magnitudes, scaled to 0..4095 with one factor, which `DerivationDescription` states.
        geometry: spacing, directions and centre; without directions nothing is written, since left and right would be
            a guess.
        header: echo and repetition time, field strength, vendor and patient position, where known.
        patient: attributes by DICOM keyword, such as PatientID; empty ones otherwise.
        description: how the images were made, for `DerivationDescription`.
        overwrite: replace files of an earlier export.

    Returns:
        the paths written.

    Raises:
        ImportError: pydicom is missing. ValueError: not real finite images.
        DataError: no geometry, several slices for one file, or a path in use.
    """
    path, volume = Path(path), real_volume(images)
    geometry = check_geometry(path, geometry)
    single = path.suffix.lower() == ".dcm"
    if single and len(volume) != 1:
        raise DataError(f"one DICOM file holds one slice, and there are {len(volume)}; name a folder.", path=path)
    series = _series(volume, geometry, header or Header(), patient or {}, description)
    files = {f"{i + 1:04}.dcm": _bytes(dataset) for i, dataset in enumerate(series)}
    if single:
        write_files({path: files["0001.dcm"]}, overwrite=overwrite)
        return [path]
    write_folder(path, files, overwrite=overwrite)
    return [path / name for name in files]


def check_geometry(path: Path, geometry: Geometry | None) -> Geometry:
    """The geometry, if DICOM images can be made with it.

    Raises:
        DataError: there is none, or no orientation.
    """
    if geometry is None or geometry.directions is None:
        raise DataError(
            "DICOM images need pixel sizes and an orientation, and the scan does not tell; state them (--plane axial, "
            "coronal or sagittal, and --spacing where sizes are missing too).",
            path=path,
        )
    return geometry


def missing_attributes(dataset: Any) -> list[str]:
    """Keywords that the MR Image IOD asks for and a pydicom data set lacks."""
    empty = [name for name in _FILLED if getattr(dataset, name, None) in (None, "", [])]
    return empty + [name for name in _PRESENT if name not in dataset]


def _series(
    volume: NDArray[np.float32], geometry: Geometry, header: Header, patient: Mapping[str, str], description: str
) -> list[Any]:
    scale = float(np.abs(volume).max()) / _WHITE or 1.0
    stored = np.rint(volume / scale).clip(0, _WHITE).astype("<u2")
    seed = hashlib.sha256(volume.tobytes() + description.encode()).hexdigest()
    assumed = "orientation assumed, not measured; " if geometry.assumed else ""
    origin = f"{description}; {assumed}value = stored x {scale:.6g}; not for diagnosis".lstrip("; ")
    made = [_slice(plane, i, geometry, header, seed) for i, plane in enumerate(stored)]
    for dataset in made:
        dataset.DerivationDescription = origin[:1024]
        _fill(dataset, patient)
        lacking = missing_attributes(dataset)
        assert not lacking, lacking
    return made


def _slice(plane: NDArray[np.uint16], i: int, geometry: Geometry, header: Header, seed: str) -> Any:
    dataset = _dataset(seed, i)
    assert geometry.directions is not None
    rows, columns, _ = geometry.directions
    _fill(dataset, {name: "" for name in _PRESENT})
    dataset.SeriesNumber, dataset.InstanceNumber = 1, i + 1
    dataset.Manufacturer, dataset.ManufacturerModelName = header.vendor or "", header.model or ""
    dataset.PatientPosition = header.patient_position or ""
    dataset.SeriesDescription = (header.protocol or "reconstruction")[:64]
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.MRAcquisitionType = "RM", "NONE", "2D"
    dataset.EchoTime, dataset.RepetitionTime = _decimal(header.echo_time), _decimal(header.repetition_time)
    for name, value in (("MagneticFieldStrength", header.field_strength), ("FlipAngle", header.flip_angle)):
        if value is not None:
            setattr(dataset, name, _decimal(value))
    dataset.PixelSpacing = [_decimal(d) for d in geometry.spacing[:2]]
    dataset.SliceThickness = _decimal(geometry.spacing[2])
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*columns, *rows)]
    dataset.ImagePositionPatient = [_decimal(v) for v in geometry.position(0, 0, i, plane.shape)]
    dataset.Rows, dataset.Columns = plane.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = _WHITE // 2, _WHITE
    dataset.PixelData = plane.tobytes()
    return dataset


def _dataset(seed: str, i: int) -> Any:
    """An empty data set with its identifiers."""
    try:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import UID
    except ImportError as error:
        raise ImportError("DICOM files are written with pydicom; pip install invdiff[io].") from error
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = _MR_IMAGE, "MR"
    dataset.SOPInstanceUID = _identifier(seed, f"image {i}")
    for name in ("Study", "Series"):
        setattr(dataset, f"{name}InstanceUID", _identifier(seed, name))
    dataset.FrameOfReferenceUID = _identifier(seed, "frame")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(_MR_IMAGE), dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(_LITTLE_ENDIAN)
    dataset.file_meta = meta
    return dataset


def _identifier(seed: str, what: str) -> str:
    """2.25.<number> of a name-based UUID, as PS3.5 B.2 allows."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{seed} {what}').int}"


def _decimal(value: float | None) -> str:
    """At most the sixteen characters of a decimal string."""
    return "" if value is None else f"{value:.9g}"[:16]


def _fill(dataset: Any, values: Mapping[str, str]) -> None:
    from pydicom.datadict import tag_for_keyword

    for name, value in values.items():
        if tag_for_keyword(name) is None:
            raise ValueError(f"{name!r} is no DICOM keyword.")
        setattr(dataset, name, value)


def _bytes(dataset: Any) -> bytes:
    from pydicom import dcmwrite

    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()
