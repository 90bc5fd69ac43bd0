"""WRITERS: what a reconstruction can be written as, by the ending of its name."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from invdiff.data.atomic import check_folder, check_target
from invdiff.data.errors import DataError
from invdiff.data.folders import ending
from invdiff.data.geometry import Geometry
from invdiff.data.header import Header
from invdiff.data.write_bart import write_bart
from invdiff.data.write_dicom import check_count, check_geometry, write_dicom
from invdiff.data.write_nifti import phase_name, write_nifti
from invdiff.data.writer import Attribute, write_reconstruction


@dataclass(frozen=True)
class Volume:
    """Reconstructed slices with what is known of them.

    Attributes:
        images: (slices, h, w), real or complex.
        geometry: where the pixels lie, or None.
        header: facts of the scan, or None.
        attrs: how the images were made.
        inputs: files they were made from, which are never overwritten.
        unit: "HU" for CT images in Hounsfield units, "" for anything else.
    """

    images: Tensor
    geometry: Geometry | None = None
    header: Header | None = None
    attrs: Mapping[str, Attribute] = field(default_factory=dict)
    inputs: tuple[str | os.PathLike[str], ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class Writer:
    """One kind of output.

    Attributes:
        write: function (path, volume, overwrite) -> the paths written.
        beside: other files that it writes, from the path.
        library: the package that it needs beyond the core, "" for none.
    """

    write: Callable[[Path, Volume, bool], list[Path]]
    beside: Callable[[Path], list[Path]] = lambda path: []
    library: str = ""


def _hdf5(path: Path, volume: Volume, overwrite: bool) -> list[Path]:
    write_reconstruction(path, _magnitude(volume), volume.attrs, inputs=volume.inputs, overwrite=overwrite)
    return [path]


def _nifti(path: Path, volume: Volume, overwrite: bool) -> list[Path]:
    return write_nifti(path, volume.images, volume.geometry, inputs=volume.inputs, overwrite=overwrite)


def _dicom(path: Path, volume: Volume, overwrite: bool) -> list[Path]:
    known = [name for name in ("method", "prior", "source_file") if name in volume.attrs]
    made = ", ".join(f"{name} {volume.attrs[name]}" for name in known)
    return write_dicom(
        path,
        _magnitude(volume),
        volume.geometry,
        header=volume.header,
        description=made,
        unit=volume.unit,
        overwrite=overwrite,
    )


def _bart(path: Path, volume: Volume, overwrite: bool) -> list[Path]:
    return write_bart(path, volume.images, inputs=volume.inputs, overwrite=overwrite)


def _magnitude(volume: Volume) -> Tensor:
    return volume.images.abs() if volume.images.is_complex() else volume.images


WRITERS: dict[str, Writer] = {
    ".h5": Writer(_hdf5),  # dataset `reconstruction`, fastMRI's leaderboard layout
    ".hdf5": Writer(_hdf5),
    ".nii": Writer(_nifti, lambda path: [phase_name(path)], "nibabel"),
    ".nii.gz": Writer(_nifti, lambda path: [phase_name(path)], "nibabel"),
    ".dcm": Writer(_dicom, library="pydicom"),  # one slice
    "": Writer(_dicom, library="pydicom"),  # a folder
    ".cfl": Writer(_bart, lambda path: [path.with_suffix(".hdr")]),  # complex
}


def write_volume(path: str | os.PathLike[str], volume: Volume, *, overwrite: bool = False) -> list[Path]:
    """Write a volume in the format that the ending names; files appear whole or not at all.

    Raises:
        DataError: no such format, nothing but a folder and no orientation, a path in use, or the disk refused.
        ValueError: not finite. ImportError: the library of the format is missing.
    """
    path = Path(path)
    return _writer(path).write(path, volume, overwrite)


def check_output(
    path: Path, geometry: Geometry | None, inputs: Iterable[Path] = (), overwrite: bool = False, slices: int = 1
) -> None:
    """Refuse, before any work, what `write_volume` would refuse after it of so many slices.

    Raises:
        DataError, ImportError: as `write_volume`.
    """
    writer = _writer(path)
    if writer.library and find_spec(writer.library) is None:
        raise ImportError(f"{path.name} is written with {writer.library}; pip install invdiff[io], or give a .h5.")
    if writer.write is _dicom:
        check_geometry(path, geometry)
        check_count(path, slices)
    if ending(path) == "":
        check_folder(path, {".dcm"}, overwrite)
        return
    for target in (path, *writer.beside(path)):
        check_target(target, list(inputs), overwrite)


def _writer(path: Path) -> Writer:
    writer = WRITERS.get(ending(path))
    if writer is None:
        known = ", ".join(e for e in WRITERS if e)
        raise DataError(f"ends in none of {known}; a name without an ending is a folder of DICOM files.", path=path)
    return writer
