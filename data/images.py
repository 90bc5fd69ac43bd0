"""open_images(path)[i] = slice i, (H, W): images for training and fitting, in the formats people have them in.

HDF5 with `images` or `train/images`, `val/images` (images_hdf5.py); fully sampled fastMRI files (images_fastmri.py);
.npy, .npz and .png (images_arrays.py); DICOM (images_dicom.py); NIfTI (images_nifti.py). A file or a folder of them.
"""

import inspect
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from invdiff.checks import nearest
from invdiff.data.errors import DataError
from invdiff.data.folders import counted, ending, files_under, is_dicom
from invdiff.data.hdf5 import keys, opened
from invdiff.data.image_source import ImageSource
from invdiff.data.images_arrays import open_arrays
from invdiff.data.images_dicom import open_dicom
from invdiff.data.images_fastmri import open_fastmri
from invdiff.data.images_hdf5 import open_hdf5
from invdiff.data.images_nifti import open_nifti

FORMATS: dict[str, Callable[..., ImageSource]] = {
    "hdf5": open_hdf5,
    "fastmri": open_fastmri,
    "arrays": open_arrays,
    "dicom": open_dicom,
    "nifti": open_nifti,
}
ENDINGS = {
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".npy": "arrays",
    ".npz": "arrays",
    ".png": "arrays",
    ".dcm": "dicom",
    ".ima": "dicom",
    ".nii": "nifti",
    ".nii.gz": "nifti",
}


def open_images(
    path: str | PathLike[str],
    part: str | None = None,
    *,
    format: str | None = None,
    modality: str | None = None,
    **options: Any,
) -> ImageSource:
    """Slices of a file or a folder; only headers are read now, pixels when a slice is asked for.

    Args:
        path: see the formats above.
        part: "train", "val", ... where the file or folder has parts; None is all of them together.
        format: a key of FORMATS where names and contents do not tell it.
        modality: "MR" or "CT" where the files do not say.
        options: of the format, such as `image="complex"` (fastmri), `axis=0` (nifti), `key="volume"` (arrays).

    Raises:
        DataError: no such file, format, part or option; files that cannot be used. It names the file and what to do.
    """
    path = Path(path)
    name = format or format_of(path)
    if name not in FORMATS:
        raise DataError(f"format={name!r} is not known.{nearest(name, FORMATS)}", path=path)
    known = [p for p in inspect.signature(FORMATS[name]).parameters if p != "path"]
    for option in options:
        if option not in known:
            raise DataError(f"the format {name} has no option {option!r}.{nearest(option, known)}", path=path)
    source = FORMATS[name](path, **options)
    source.modality = source.modality if modality is None else modality
    return source if part is None else source.part(part)


def format_of(path: Path) -> str:
    """The format of a file or folder, a key of FORMATS.

    Raises:
        DataError: files of several formats, or of none.
    """
    files = files_under(path)
    found = {ENDINGS[ending(f)] for f in files if ending(f) in ENDINGS} or {"dicom" for f in files if is_dicom(f)}
    if len(found) != 1:
        what = "files of several formats" if found else "no images in a known format"
        raise DataError(
            f"holds {what} ({counted(files)}); give a folder of one format, or name it: format={' | '.join(FORMATS)}.",
            path=path,
        )
    name = found.pop()
    return "fastmri" if name == "hdf5" and _holds_kspace(next(f for f in files if ending(f) in ENDINGS)) else name


def _holds_kspace(path: Path) -> bool:
    with opened(path) as file:
        return "kspace" in keys(file)
