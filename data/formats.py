"""FORMATS: the k-space files that can be read, and how one is known.

What a file is, is told by its ending and, for HDF5 and MATLAB files, by what lies at its root.
"""

from pathlib import Path
from typing import Any

import h5py

from invdiff.data.contents import Contents
from invdiff.data.errors import DataError
from invdiff.data.fastmri import open_fastmri
from invdiff.data.file_format import Format
from invdiff.data.hdf5 import check_signature, find, keys, opened
from invdiff.data.ismrmrd_table import raw_group
from invdiff.data.kspace_arrays import open_arrays
from invdiff.data.kspace_bart import bart_pair, open_bart
from invdiff.data.kspace_ismrmrd import open_ismrmrd
from invdiff.data.kspace_matlab import open_matlab
from invdiff.data.kspace_skmtea import open_skmtea

FORMATS: dict[str, Format[Contents]] = {
    "fastmri": Format("HDF5 with `kspace` (slices, coils, h, w), train, validation and test layout", open_fastmri),
    "ismrmrd": Format("ISMRMRD HDF5: Cartesian acquisitions, noise scan, geometry", open_ismrmrd),
    "skm-tea": Format("HDF5 with hybrid `kspace` (x, ky, kz, echoes, coils) and `maps`", open_skmtea),
    "matlab": Format(".mat (x, y, coils, slices, frames), version 7.3 as in CMRxRecon, or older", open_matlab),
    "bart": Format(".cfl and .hdr, axes as BART numbers them", open_bart),
    "arrays": Format(".npy and .npz, (slices, coils, h, w)", open_arrays),
}

_FOREIGN = {
    ".dat": "Siemens raw data; convert it with siemens_to_ismrmrd",
    ".7": "a GE P-file; convert it with ge_to_ismrmrd",
    ".lab": "Philips raw data; convert it with philips_to_ismrmrd",
    ".raw": "Philips raw data; convert it with philips_to_ismrmrd",
    ".dcm": "DICOM, which holds images, not k-space",
    ".nii": "NIfTI, which holds images, not k-space",
}


def open_contents(path: Path, format: str | None, options: dict[str, Any]) -> tuple[str, Contents]:
    """The format, given or recognised, and the contents of a file.

    Raises:
        DataError: the file cannot be used. TypeError: an option that the format does not have.
    """
    if path.is_dir():
        raise DataError("is a folder; give one file.", path=path)
    if not path.exists() and bart_pair(path) is None:
        raise DataError("does not exist; check the path.", path=path)
    name = format or recognised(path)
    return name, FORMATS[name].opened(name, path, options)


def recognised(path: Path) -> str:
    """The format of a file, a key of FORMATS.

    Raises:
        DataError: it is none of them.
    """
    suffix = path.suffix.lower()
    if suffix in _FOREIGN:
        raise DataError(f"looks like {_FOREIGN[suffix]}.", path=path)
    if suffix in (".npy", ".npz"):
        return "arrays"
    if suffix == ".mat":
        return "matlab"
    if bart_pair(path) is not None:
        return "bart"
    check_signature(path)
    with opened(path) as file:
        return _hdf5_kind(file, path)


def _hdf5_kind(file: h5py.File, path: Path) -> str:
    """A file that is nothing known is left to the reader of fastMRI files, which says what it lacks."""
    if "kspace" not in keys(file):
        return "ismrmrd" if raw_group(file, path) is not None else "fastmri"
    data = find(file, "kspace", path)
    five = data is not None and len(data.shape or ()) == 5 and data.dtype.kind in "cV"
    return "skm-tea" if five else "fastmri"
