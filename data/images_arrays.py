"""(H, W) or (N, H, W): slices in .npy, .npz and .png files, one file or a folder of them.

The subject is the sub-folder, else the file name (without the number at its end where files hold one slice each); see
`invdiff.data.folders.subject_of`. PNG values are divided by the largest the file can hold, to [0, 1].
"""

import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import IO, Literal

import matplotlib.image
import numpy as np

from invdiff.checks import nearest
from invdiff.data.errors import DataError
from invdiff.data.folders import ending, files_under, part_of, stem, subject_of
from invdiff.data.hdf5 import BUDGET
from invdiff.data.image_source import ImageSource, Kind, Pixels, Place

Subject = Literal["auto", "file"]
Found = tuple[tuple[int, ...], np.dtype, str | None]
"""Shape, dtype and name inside the file of an array that has not been read."""


def open_arrays(path: Path, *, key: str | None = None, subject: Subject = "auto", budget: int = BUDGET) -> ImageSource:
    """Slices of .npy, .npz and .png files; pickled objects are never loaded.

    Args:
        path: a file or a folder; `train`, `val`, `test` directly below it are parts.
        key: the array to take from .npz files that hold several; `images` is taken by default.
        subject: "file" makes every file a subject of its own, for slices named by number that are of different people.
        budget: bytes that one file may unpack to.

    Raises:
        DataError: truncated or hostile files, arrays of another rank or dtype, colour images.
    """
    if subject not in ("auto", "file"):
        raise DataError(f"subject={subject!r} is not known.{nearest(subject, ('auto', 'file'))}", path=path)
    places: list[Place] = []
    kinds: set[Kind] = set()
    for file in (f for f in files_under(path) if ending(f) in _SURVEYS):
        shape, dtype, name = _SURVEYS[ending(file)](file, key)
        _check(file, name, shape, dtype, budget)
        kinds.add("complex" if dtype.kind == "c" else "magnitude")
        whom = stem(file) if subject == "file" else subject_of(path, file, single_slice=len(shape) == 2)
        first = Place(file, (shape[-2], shape[-1]), whom, part_of(path, file), name)
        places += [first] if len(shape) == 2 else [_at(first, i) for i in range(shape[0])]
    if len(kinds) > 1:
        raise DataError("holds real and complex images; open them apart.", path=path)
    return ImageSource(path, places, read_array, (kinds or {"magnitude"}).pop())


def read_array(place: Place) -> Pixels:
    """The pixels of a place."""
    try:
        if ending(place.path) == ".npy":
            data = np.load(place.path, mmap_mode="r", allow_pickle=False)
        elif ending(place.path) == ".npz":
            data = _member(place.path, place.name or "", place.path.stat().st_mtime_ns)
        else:
            data = _grey(place.path)
        return np.asarray(data if place.index is None else data[place.index])
    except (OSError, EOFError, ValueError, SyntaxError, zipfile.BadZipFile) as error:
        raise _unreadable(place.path, error) from error


@lru_cache(maxsize=1)
def _member(path: Path, name: str, changed: int) -> Pixels:
    """An array of an .npz file. The last one is kept, since each read unpacks all of it."""
    with np.load(path, allow_pickle=False) as file:
        return np.asarray(file[name])


def _grey(path: Path) -> Pixels:
    """A PNG as (H, W) in [0, 1]; colour channels must agree."""
    values = matplotlib.image.imread(path, format="png")
    if values.ndim == 2:
        return values
    colours = values[..., :3]
    if values.shape[-1] >= 3 and not bool((colours == colours[..., :1]).all()):
        raise DataError("is a colour image; convert it to grey.", path=path)
    return np.asarray(colours[..., 0])


def _survey_npy(path: Path, key: str | None) -> Found:
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)  # fails where the file is shorter than its header says
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable(path, error) from error
    return data.shape, data.dtype, None


def _survey_npz(path: Path, key: str | None) -> Found:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {n.removesuffix(".npy"): archive.getinfo(n) for n in archive.namelist() if n.endswith(".npy")}
            name = _chosen(path, list(members), key)
            with archive.open(members[name]) as stream:
                shape, dtype, header = _header(stream)
            declared = header + int(np.prod(shape, dtype=object)) * dtype.itemsize
            if declared != members[name].file_size:
                raise ValueError(f"'{name}' declares {declared} bytes, the archive {members[name].file_size}")
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise error if isinstance(error, DataError) else _unreadable(path, error) from error
    return shape, dtype, name


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape and dtype of a .npy stream, and the length of its header."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype, stream.tell()


def _chosen(path: Path, names: list[str], key: str | None) -> str:
    name = key or (names[0] if len(names) == 1 else "images")
    if name not in names:
        what = f"has no array {name!r}; it holds {', '.join(names) or 'none'}. Name one with key=."
        raise DataError(what, path=path)
    return name


def _survey_png(path: Path, key: str | None) -> Found:
    """The size from the first chunk, before anything is unpacked."""
    with path.open("rb") as file:
        start = file.read(26)
    if len(start) < 26 or start[:8] != b"\x89PNG\r\n\x1a\n" or start[12:16] != b"IHDR":
        raise DataError(f"is not a PNG file ({path.stat().st_size} bytes); copy it again.", path=path)
    width, height = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    return (height, width), np.dtype(np.float32), None


_SURVEYS: dict[str, Callable[[Path, str | None], Found]] = {
    ".npy": _survey_npy,
    ".npz": _survey_npz,
    ".png": _survey_png,
}


def _check(path: Path, name: str | None, shape: tuple[int, ...], dtype: np.dtype, budget: int) -> None:
    if len(shape) not in (2, 3) or min(shape) < 1 or dtype.kind not in "iufbc":
        raise DataError(f"wanted numbers (H, W) or (N, H, W), got {dtype} {shape}; slices lie along the first axis.",
                        path=path, dataset=name)  # fmt: skip
    declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if declared > budget:
        raise DataError(f"unpacks to {declared} bytes, over the budget of {budget}; if the file is sound, raise "
                        "`budget`.", path=path, dataset=name)  # fmt: skip


def _at(place: Place, i: int) -> Place:
    return Place(place.path, place.shape, place.subject, place.part, place.name, i)


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(f"cannot be read ({type(error).__name__}: {error}); {path.stat().st_size} bytes are here, copy it "
                     "again.", path=path)  # fmt: skip
