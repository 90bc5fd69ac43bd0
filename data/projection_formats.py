"""PROJECTION_FORMATS: the files of projections that can be read, and how one is known."""

from pathlib import Path
from typing import Any

import h5py

from invdiff.data.errors import DataError
from invdiff.data.file_format import Format
from invdiff.data.folders import is_dicom
from invdiff.data.hdf5 import check_signature, find, keys, opened
from invdiff.data.projections_contents import ProjectionContents
from invdiff.data.projections_dicom import open_dicom_projections
from invdiff.data.projections_htc import open_htc
from invdiff.data.projections_lodopab import open_lodopab
from invdiff.data.projections_named import open_named
from invdiff.data.projections_tiff import ENDINGS, open_tiff

PROJECTION_FORMATS: dict[str, Format[ProjectionContents]] = {
    "projections": Format("HDF5 or .npz with `projections` or `counts`, `angles`, `bin_width`", open_named),
    "lodopab": Format("observation_*.hdf5 of LoDoPaB-CT", open_lodopab),
    "htc2022": Format("sinograms of the Helsinki Tomography Challenge 2022, .mat or HDF5", open_htc),
    "dicom-ct-pd": Format("folder of DICOM-CT-PD projections, one for each view", open_dicom_projections),
    "tiff": Format("folder or stack of TIFF images with a geometry file (TOML or JSON)", open_tiff),
}


def open_projection_contents(path: Path, format: str | None, options: dict[str, Any]) -> tuple[str, ProjectionContents]:
    """The format, given or recognised, and the contents of a file or folder.

    Raises:
        DataError: it cannot be used. TypeError: an option that the format does not have.
    """
    name = format or recognised_projections(path)
    if name is None:
        known = "; ".join(f"{n}: {kind.summary}" for n, kind in PROJECTION_FORMATS.items())
        raise DataError(f"holds no projections that can be read. There is: {known}.", path=path)
    return name, PROJECTION_FORMATS[name].opened(name, path, options)


def recognised_projections(path: Path) -> str | None:
    """The format of projections, a key of PROJECTION_FORMATS; None where a file or folder is none of them.

    Raises:
        DataError: it does not exist, or its structure is damaged.
    """
    if not path.exists():
        raise DataError("does not exist; check the path.", path=path)
    if path.is_dir():
        return _folder(path)
    suffix = path.suffix.lower()
    if suffix in ENDINGS:
        return "tiff"
    if suffix == ".npz":
        return "projections" if _holds_arrays(path) else None
    if suffix == ".mat" and not h5py.is_hdf5(path):
        return "htc2022" if _holds_structure(path) else None
    if not h5py.is_hdf5(path):
        return None
    check_signature(path)
    with opened(path) as file:
        return _hdf5(file, path)


def _folder(path: Path) -> str | None:
    for file in sorted(path.iterdir()):
        if file.suffix.lower() in ENDINGS:
            return "tiff"
        if file.is_file() and is_dicom(file):
            return "dicom-ct-pd"
    return None


def _hdf5(file: h5py.File, path: Path) -> str | None:
    names = keys(file)
    if {"projections", "counts"} & set(names):
        return "projections"
    if names == ["data"]:
        return "lodopab"
    return "htc2022" if any(find(file, f"{n}/sinogram", path) is not None for n in names) else None


def _holds_arrays(path: Path) -> bool:
    from invdiff.data.kspace_arrays import array_headers

    return bool({"projections", "counts"} & set(array_headers(path)))


def _holds_structure(path: Path) -> bool:
    from scipy.io import whosmat

    from invdiff.data.kspace_arrays import readable

    with readable(path):
        return any(name.startswith("CtData") for name, _, _ in whosmat(path))
