"""A volume as a DICOM series of derived MR images, or of CT images in Hounsfield units, one file for each slice.

The images say of themselves that they are derived, secondary and not for diagnosis. What a kind of image stores is in
`invdiff.data.dicom_kinds`. Needs pydicom (`pip install invdiff[io]`).
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

from invdiff.checks import nearest
from invdiff.data.atomic import write_files, write_folder
from invdiff.data.dicom_kinds import KINDS, MR, DicomKind, decimal
from invdiff.data.errors import DataError
from invdiff.data.geometry import Geometry
from invdiff.data.header import Header
from invdiff.data.writer import real_volume

_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


def write_dicom(
    path: str | os.PathLike[str],
    images: Tensor | NDArray[np.floating],
    geometry: Geometry | None,
    *,
    header: Header | None = None,
    patient: Mapping[str, str] | None = None,
    description: str = "",
    unit: str = "",
    overwrite: bool = False,
) -> list[Path]:
    """Write a series.

    Identifiers follow from the pixels and the description, so that the same result has the same ones.

    Args:
        path: a folder, which gets `0001.dcm`, `0002.dcm`, ...; or a name ending in .dcm for a single slice.
        images: (slices, h, w) real. Magnitudes become MR images, scaled to 0..4095 with one factor, which
            `DerivationDescription` states; Hounsfield units CT images, in steps of 1 HU, or of so many
            (`RescaleSlope`) that values beyond 16 bits fit, with a warning.
        geometry: spacing, directions and centre; without directions nothing is written, since left and right would be
            a guess.
        header: echo and repetition time, field strength, vendor and patient position, where known.
        patient: attributes by DICOM keyword, such as PatientID; empty ones otherwise.
        description: how the images were made, for `DerivationDescription`.
        unit: of the images: "" for magnitudes in arbitrary units, "HU".
        overwrite: replace files of an earlier export.

    Returns:
        the paths written.

    Raises:
        ImportError: pydicom is missing. ValueError: not real finite images, or another unit.
        DataError: no geometry, several slices for one file, or a path in use.
    """
    path, volume = Path(path), real_volume(images)
    if unit not in KINDS:
        raise ValueError(f"there are no DICOM images in the unit {unit!r}.{nearest(unit, KINDS)}")
    geometry = check_geometry(path, geometry)
    check_count(path, len(volume))
    series = _series(KINDS[unit], volume, geometry, header or Header(), patient or {}, description)
    files = {f"{i + 1:04}.dcm": _bytes(dataset) for i, dataset in enumerate(series)}
    if _is_single(path):
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


def check_count(path: Path, slices: int) -> None:
    """Refuse several slices for one file.

    Raises:
        DataError: asks for a folder.
    """
    if _is_single(path) and slices != 1:
        raise DataError(f"one DICOM file holds one slice, and there are {slices}; name a folder.", path=path)


def _is_single(path: Path) -> bool:
    return path.suffix.lower() == ".dcm"


def missing_attributes(dataset: Any) -> list[str]:
    """Keywords that the IOD of its modality (MR where it has none) asks for and a pydicom data set lacks."""
    kinds = {kind.modality: kind for kind in KINDS.values()}
    filled, present = kinds.get(str(getattr(dataset, "Modality", "")), MR).needed
    empty = [name for name in filled if getattr(dataset, name, None) in (None, "", [])]
    return empty + [name for name in present if name not in dataset]


def _series(
    kind: DicomKind,
    volume: NDArray[np.float32],
    geometry: Geometry,
    header: Header,
    patient: Mapping[str, str],
    description: str,
) -> list[Any]:
    encoded = kind.encode(volume)
    seed = hashlib.sha256(volume.tobytes() + description.encode()).hexdigest()
    assumed = "orientation assumed, not measured; " if geometry.assumed else ""
    origin = f"{description}; {assumed}{encoded.sentence}; not for diagnosis".lstrip("; ")
    made = [_slice(kind, plane, i, geometry, header, seed) for i, plane in enumerate(encoded.pixels)]
    for dataset in made:
        dataset.DerivationDescription = origin[:1024]
        _fill(dataset, {**encoded.attributes, **patient})
        lacking = missing_attributes(dataset)
        assert not lacking, lacking
    return made


def _slice(kind: DicomKind, plane: NDArray[np.generic], i: int, geometry: Geometry, header: Header, seed: str) -> Any:
    dataset = _dataset(kind, seed, i)
    assert geometry.directions is not None
    rows, columns, _ = geometry.directions
    h, w = plane.shape
    _fill(dataset, {name: "" for name in kind.needed[1]})
    dataset.SeriesNumber, dataset.InstanceNumber = 1, i + 1
    dataset.Manufacturer, dataset.ManufacturerModelName = header.vendor or "", header.model or ""
    dataset.PatientPosition = header.patient_position or ""
    dataset.SeriesDescription = (header.protocol or "reconstruction")[:64]
    dataset.ImageType = ["DERIVED", "SECONDARY", kind.image_type]
    _fill(dataset, kind.facts(header))
    dataset.PixelSpacing = [decimal(d) for d in geometry.spacing[:2]]
    dataset.SliceThickness = decimal(geometry.spacing[2])
    dataset.ImageOrientationPatient = [decimal(v) for v in (*columns, *rows)]
    dataset.ImagePositionPatient = [decimal(v) for v in geometry.position(0, 0, i, (h, w))]
    dataset.Rows, dataset.Columns = h, w
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.BitsAllocated = 1, "MONOCHROME2", 16
    dataset.PixelData = plane.tobytes()
    return dataset


def _dataset(kind: DicomKind, seed: str, i: int) -> Any:
    """An empty data set with its identifiers."""
    try:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import UID
    except ImportError as error:
        raise ImportError("DICOM files are written with pydicom; pip install invdiff[io].") from error
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = kind.sop_class, kind.modality
    dataset.SOPInstanceUID = _identifier(seed, f"image {i}")
    for name in ("Study", "Series"):
        setattr(dataset, f"{name}InstanceUID", _identifier(seed, name))
    dataset.FrameOfReferenceUID = _identifier(seed, "frame")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(kind.sop_class), dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(_LITTLE_ENDIAN)
    dataset.file_meta = meta
    return dataset


def _identifier(seed: str, what: str) -> str:
    """2.25.<number> of a name-based UUID, as PS3.5 B.2 allows."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{seed} {what}').int}"


def _fill(dataset: Any, values: Mapping[str, Any]) -> None:
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
