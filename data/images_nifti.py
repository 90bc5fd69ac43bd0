"""x[..., k] * scl_slope + scl_inter: slices of NIfTI volumes (.nii, .nii.gz) along one axis.

Rows of a slice run along the first remaining axis of the array and columns along the second, as stored: nothing is
turned to anatomical orientation. Needs nibabel (`pip install invdiff[io]`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from invdiff.data.errors import DataError
from invdiff.data.folders import ending, files_under, part_of, subject_of
from invdiff.data.hdf5 import BUDGET
from invdiff.data.image_source import ImageSource, Kind, Pixels, Place


def open_nifti(path: Path, *, axis: int = 2, budget: int = BUDGET) -> ImageSource:
    """Slices of a volume, or of all volumes in a folder.

    Args:
        path: 3-D volumes, real or complex, or 4-D ones with a single last entry. The subject is the sub-folder, else
            the file name.
        axis: 0, 1 or 2, the one that numbers the slices.
        budget: bytes that one volume may unpack to. Compressed volumes are unpacked whole, and the last one is kept;
            random access over many of them is slow.

    Raises:
        ImportError: nibabel is missing.
        DataError: a damaged file, a shape or dtype of another kind.
    """
    if axis not in (0, 1, 2):
        raise DataError(f"axis must be 0, 1 or 2, got {axis}.", path=path)
    places: list[Place] = []
    kinds: set[Kind] = set()
    for file in (f for f in files_under(path) if ending(f) in (".nii", ".nii.gz")):
        image = _opened(file)
        shape = _volume_shape(file, tuple(image.shape), image.get_data_dtype(), budget)
        _check_size(file, image)
        kinds.add("complex" if image.get_data_dtype().kind == "c" else "magnitude")
        rows, columns = (k for k in range(3) if k != axis)
        zooms = image.header.get_zooms()
        spacing = (float(zooms[rows]), float(zooms[columns]))
        subject, part = subject_of(path, file, single_slice=False), part_of(path, file)
        size = (shape[rows], shape[columns])
        places += [Place(file, size, subject, part, None, i, spacing) for i in range(shape[axis])]
    if len(kinds) > 1:
        raise DataError("holds real and complex volumes; open them apart.", path=path)
    return ImageSource(path, places, NiftiReader(axis), (kinds or {"magnitude"}).pop())


@dataclass(frozen=True)
class NiftiReader:
    """Reads a slice, scaled in double precision by the slope and intercept of the header."""

    axis: int

    def __call__(self, place: Place) -> Pixels:
        where = tuple(place.index if k == self.axis else slice(None) for k in range(3))
        return _explained(place.path, lambda: self._scaled(place.path, where)).reshape(place.shape)

    def _scaled(self, path: Path, where: tuple[int | slice | None, ...]) -> Pixels:
        proxy = _opened(path).dataobj
        if ending(path) == ".nii":
            return np.asarray(proxy[where])
        stored = _volume(path, path.stat().st_mtime_ns)[where]
        return stored if (proxy.slope, proxy.inter) == (1, 0) else stored * float(proxy.slope) + float(proxy.inter)


@lru_cache(maxsize=1)
def _volume(path: Path, changed: int) -> Pixels:
    """An unpacked volume, unscaled; the last one is kept."""
    return np.asarray(_opened(path).dataobj.get_unscaled())


def _opened(path: Path) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise ImportError("NIfTI files are read with nibabel; pip install invdiff[io].") from error
    return _explained(path, lambda: nibabel.load(path))


def _explained(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # nibabel, gzip and zlib fail in many ways
        raise DataError(f"is no sound NIfTI file ({type(error).__name__}: {error}); {path.stat().st_size} bytes are "
                        "here, copy it again.", path=path) from error  # fmt: skip


def _volume_shape(path: Path, shape: tuple[int, ...], dtype: np.dtype, budget: int) -> tuple[int, ...]:
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or min(shape) < 1 or dtype.kind not in "iufc":
        raise DataError(f"wanted a volume of numbers (x, y, z), got {dtype} {shape}; split series into volumes.",
                        path=path)  # fmt: skip
    declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if declared > budget:
        raise DataError(f"unpacks to {declared} bytes, over the budget of {budget}; if the file is sound, raise "
                        "`budget`.", path=path)  # fmt: skip
    return shape


def _check_size(path: Path, image: Any) -> None:
    """Refuse an uncompressed volume that is cut short; compressed ones are found out when they are read."""
    proxy = image.dataobj
    needed = int(proxy.offset) + int(np.prod(proxy.shape, dtype=object)) * proxy.dtype.itemsize
    if ending(path) == ".nii" and path.stat().st_size < needed:
        raise DataError(f"is truncated: {path.stat().st_size} of {needed} bytes are here; copy it again.", path=path)
