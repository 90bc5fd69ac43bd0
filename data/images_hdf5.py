"""{part}/images (N, H, W): HDF5 files of slices, real or complex, with the subject of each beside them.

    images, or train/images, val/images, ...    (N, H, W), any real or complex dtype
    subject, or train/subject, ...              (N,) text; optional
    pixel_spacing_mm, or train/...              (N,) or (N, 2) mm; optional

Attributes of the file, all optional: `modality` ("MR", "CT"), `units` ("HU" or "Hounsfield units ..."), `subject`.
"""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from invdiff.data.errors import DataError
from invdiff.data.folders import ending, files_under, part_of, subject_of
from invdiff.data.hdf5 import BUDGET, attributes, check_budget, check_signature, explained, find, keys, opened, required
from invdiff.data.image_source import ImageSource, Kind, Pixels, Place

_SMALL = 2**26  # bytes of a table of subjects or spacings


def open_hdf5(path: Path, *, budget: int = BUDGET) -> ImageSource:
    """Slices of a file, or of all .h5 and .hdf5 files in a folder.

    Args:
        path: see the layout above. Where no subjects are stored in the files of a folder, each file is one.
        budget: bytes that one slice may have.

    Raises:
        DataError: a file without such datasets, of another shape or dtype, or too large to be true.
    """
    places: list[Place] = []
    kinds: set[Kind] = set()
    about: dict[str, Any] = {}
    for file in (f for f in files_under(path) if ending(f) in (".h5", ".hdf5")):
        found, kind, about = _survey(path, file, budget)
        places += found
        kinds.add(kind)
    if len(kinds) > 1:
        raise DataError("holds real and complex images; open them apart.", path=path)
    unit = "HU" if str(about.get("units", "")).lower().startswith(("hu", "hounsfield")) else ""
    modality = str(about.get("modality", "CT" if unit else "")).upper()
    return ImageSource(path, places, Reader(), (kinds or {"magnitude"}).pop(), modality, unit)


class Reader:
    """Reads places of HDF5 files through one open handle per process: a fork or a copy opens its own."""

    def __init__(self) -> None:
        self._file: h5py.File | None = None
        self._path: Path | None = None
        self._process = 0

    def __call__(self, place: Place) -> Pixels:
        with explained(place.path):
            data = required(self._opened(place.path), place.name or "", place.path)
            return np.asarray(data[place.index])

    def _opened(self, path: Path) -> h5py.File:
        if self._file is None or self._path != path or self._process != os.getpid():
            if self._file is not None:
                self._file.close()
            check_signature(path)
            self._file, self._path, self._process = h5py.File(path, "r"), path, os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {"_file": None, "_path": None, "_process": 0}


def _survey(root: Path, path: Path, budget: int) -> tuple[list[Place], Kind, dict[str, Any]]:
    """Places, kind and attributes of one file."""
    with opened(path) as file:
        names = ["images", *(f"{key}/images" for key in keys(file))]
        names = [name for name in names if find(file, name, path) is not None]
        if not names:
            required(file, "images", path)
        about = attributes(file)
        places = [place for name in names for place in _places(root, path, file, name, budget, about)]
        kinds = {file[name].dtype.kind == "c" for name in names}
    if len(kinds) > 1:
        raise DataError("holds real and complex images; store them in two files.", path=path)
    return places, "complex" if kinds.pop() else "magnitude", about


def _places(root: Path, path: Path, file: h5py.File, name: str, budget: int, about: dict[str, Any]) -> list[Place]:
    data = required(file, name, path)
    if len(data.shape) != 3 or min(data.shape) < 1 or data.dtype.kind not in "iufbc":
        raise DataError(f"wanted numbers (N, H, W), got {data.dtype} {data.shape}; store slices along the first axis.",
                        path=path, dataset=name)  # fmt: skip
    check_budget(data, path, len(data), budget)
    group = name.rpartition("/")[0]
    default = about.get("subject", subject_of(root, path, single_slice=False) if root.is_dir() else "")
    subjects = _table(file, path, group, "subject", len(data))
    spacings = _table(file, path, group, "pixel_spacing_mm", len(data))
    return [
        Place(
            path,
            (int(data.shape[1]), int(data.shape[2])),
            str(default) if subjects is None else _text(subjects[i]),
            group or part_of(root, path),
            name,
            i,
            None if spacings is None else _pair(spacings[i]),
        )
        for i in range(len(data))
    ]


def _table(file: h5py.File, path: Path, group: str, name: str, count: int) -> Pixels | None:
    """What is stored for each slice, or None."""
    full = f"{group}/{name}" if group else name
    data = find(file, full, path)
    if data is None:
        return None
    if (data.shape or (0,))[0] != count:
        raise DataError(f"has shape {data.shape} for {count} slices; store one entry for each.",
                        path=path, dataset=full)  # fmt: skip
    check_budget(data, path, budget=_SMALL)
    return np.asarray(data[()])


def _text(value: Any) -> str:
    return value.decode("utf8", "replace") if isinstance(value, bytes) else str(value)


def _pair(value: Any) -> tuple[float, float]:
    row, column = np.broadcast_to(np.asarray(value, float), 2)
    return float(row), float(column)
