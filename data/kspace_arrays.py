"""(slices, coils, h, w): k-space in .npy and .npz files, as NumPy stores it.

An .npz file may hold `mask` and `maps` beside `kspace`. Pickled objects are never loaded.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from invdiff.data.contents import Contents, Reader
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET
from invdiff.data.layout import Axes, Layout, find_layout
from invdiff.data.stored_mask import checked_mask


@dataclass(frozen=True)
class ArrayReader(Reader):
    """Maps an .npy file into memory; unpacks an .npz member whole and keeps the last one."""

    name: str | None
    layout: Layout
    maps_layout: Layout | None

    def kspace(self, i: int) -> NDArray[np.complex64]:
        """Slice i, (coils, h, w)."""
        return self.layout.complex64(load_array(self.path, self.name)[self.layout.index(i)])

    def maps(self, i: int) -> NDArray[np.complex64] | None:
        """Stored maps of slice i."""
        if self.maps_layout is None:
            return None
        return self.maps_layout.complex64(load_array(self.path, "maps")[self.maps_layout.index(i)])


def open_arrays(
    path: Path, *, key: str | None = None, axes: Axes | None = None, pairs: bool = False, budget: int = BUDGET
) -> Contents:
    """Check the header of an array file.

    Args:
        path: .npy, or .npz with the arrays `kspace`, `mask` (optional) and `maps` (optional).
        key: another name for `kspace`.
        axes: for 3-D arrays, "slices" or "coils" is the first axis.
        pairs: the last axis is (real, imaginary).
        budget: bytes that an .npz member may unpack to.

    Raises:
        DataError: no k-space, a damaged or truncated file, pickled objects.
    """
    found = array_headers(path)
    name = None if path.suffix.lower() == ".npy" else key or ("kspace" if "kspace" in found or len(found) > 1 else None)
    name = name or next(iter(found))
    if name not in found:
        raise DataError(f"has no array '{name}'; it holds {', '.join(found)}; pass key=.", path=path)
    _within(path, name, found[name], budget)
    layout = _layout(path, name, found[name], axes, pairs)
    member = None if path.suffix.lower() == ".npy" else name
    mask, maps = _mask(path, found, layout, budget), _maps(path, found, layout, budget)
    return Contents(
        layout.shape, ArrayReader(path, member, layout, maps), mask, mask is None, maps=None if maps is None else "maps"
    )


Header = tuple[tuple[int, ...], "np.dtype[Any]"]


def array_headers(path: Path) -> dict[str, Header]:
    """Shape and dtype of the arrays of an .npy (called by its stem) or .npz file; no data are read."""
    with readable(path):
        if path.suffix.lower() == ".npy":
            with path.open("rb") as stream:
                return {path.stem: _header(stream)}
        with zipfile.ZipFile(path) as archive:
            found = {}
            for name in archive.namelist():
                with archive.open(name) as member:
                    found[name.removesuffix(".npy")] = _header(member)
            return found


def load_array(path: Path, name: str | None) -> NDArray[Any]:
    """An .npy file mapped into memory (None), or a member of an .npz file."""
    with readable(path):
        if name is None:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        return _member(path, name, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _member(path: Path, name: str, changed: int) -> NDArray[Any]:
    with np.load(path, allow_pickle=False) as file:
        return np.asarray(file[name])


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever a damaged array file raises becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError("does not exist; check the path.", path=path) from error
    except Exception as error:  # zipfile, zlib and NumPy fail in many ways
        raise DataError(
            f"is no sound array file ({type(error).__name__}: {error}); copy it again.", path=path
        ) from error


def _header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("holds pickled objects, which can run code and are never loaded")
    return tuple(int(n) for n in shape), dtype


def _within(path: Path, name: str, header: Header, budget: int) -> None:
    declared = int(np.prod(header[0], dtype=object)) * header[1].itemsize
    if path.suffix.lower() == ".npz" and declared > budget:
        message = f"unpacks to {declared} bytes, over the budget of {budget}; store it as .npy, or raise `budget`."
        raise DataError(message, path=path, dataset=name)


def _layout(path: Path, name: str, header: Header, axes: Axes | None, pairs: bool) -> Layout:
    try:
        return find_layout(*header, axes, pairs, False)
    except ValueError as error:
        raise DataError(str(error), path=path, dataset=name) from error


def _mask(path: Path, found: dict[str, Header], layout: Layout, budget: int) -> NDArray[np.bool_] | None:
    if path.suffix.lower() == ".npy" or "mask" not in found:
        return None
    _within(path, "mask", found["mask"], budget)
    return checked_mask(load_array(path, "mask"), layout.shape[2:], path)


def _maps(path: Path, found: dict[str, Header], layout: Layout, budget: int) -> Layout | None:
    if path.suffix.lower() == ".npy" or "maps" not in found:
        return None
    _within(path, "maps", found["maps"], budget)
    maps = _layout(path, "maps", found["maps"], layout.axes, layout.pairs)
    if maps.shape != layout.shape:
        raise DataError(f"are {maps.shape}, where k-space is {layout.shape}; take the maps of this scan.",
                        path=path, dataset="maps")  # fmt: skip
    return maps
