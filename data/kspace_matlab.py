"""kspace(x, y, coil, slice, frame): k-space in MATLAB files, as CMRxRecon has it.

x is the read-out and y the phase encoding; version 7.3 is HDF5, where the axes come out reversed and complex numbers
are compounds of real and imag; older versions are read by SciPy. Zeros tell what was not sampled. Source: Wang et al.,
CMRxRecon, Scientific Data 11:687, 2024; CMRxRecon2024, Radiology: Artificial Intelligence 7:e240443, 2025.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from invdiff.data.contents import Contents, Reader
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET, check_budget, check_signature, find, keys, opened, required
from invdiff.data.kspace_arrays import readable
from invdiff.data.layout import as_complex64, complex_fields

MatlabAxes = Literal["coils", "slices"]
Sizes = tuple[int, int, int, int, int]
"""(x, y, coils, slices, frames)."""


@dataclass(frozen=True)
class MatlabReader(Reader):
    """Reads one slice of one frame; an older file is unpacked whole, and the last one is kept."""

    name: str
    sizes: Sizes
    axes: MatlabAxes
    rank: int

    def kspace(self, i: int) -> NDArray[np.complex64]:
        """Slice i % slices of frame i // slices, (coils, x, y)."""
        frame, number = divmod(i, self.sizes[3])
        rest = (number, frame) if self.axes == "slices" else (slice(None), number, frame)
        where = (slice(None), slice(None), *rest[: self.rank - 2])
        if not h5py.is_hdf5(self.path):
            values = _variable(self.path, self.name, self.path.stat().st_mtime_ns)[where]
        else:
            with opened(self.path) as file:
                data = required(file, self.name, self.path)
                fields = complex_fields(data.shape, data.dtype)
                values = as_complex64(data[where[::-1]], fields).T
        x, y, coils = self.sizes[:3]
        return np.ascontiguousarray(np.moveaxis(values.reshape(x, y, coils), -1, 0), np.complex64)


def open_matlab(
    path: Path, *, key: str | None = None, axes: MatlabAxes | None = None, budget: int = BUDGET
) -> Contents:
    """Check a MATLAB file.

    Args:
        path: one with a complex variable (x, y, coils, slices, frames), missing ones at the end.
        key: its name; found where it begins with "k" (kspace_full, kspace_sub04, kus, ...) and is the only one.
        axes: what the third axis is where there are fewer than five and the name does not say "single": "coils"
            (x, y, coils[, slices]) or "slices" (x, y, slices[, frames]) of a single coil.
        budget: bytes that one read may ask for; of an older file, the whole variable.

    Raises:
        DataError: no such variable, several, or an ambiguous shape.
    """
    modern = h5py.is_hdf5(path) if path.is_file() else False
    found = _hdf5_variables(path, key, budget) if modern else _old_variables(path)
    name = _chosen(path, found, key)
    stored = found[name]
    axes = _third_axis(path, name, stored, axes)
    x, y, *rest = (*stored, *(1,) * (5 - len(stored)))
    coils, slices, frames = rest if axes == "coils" else (1, rest[0], rest[1])
    if not modern and 8 * math.prod(stored) > budget:
        message = f"unpacks to {8 * math.prod(stored)} bytes, over the budget of {budget}; save it with -v7.3"
        raise DataError(f"{message}, or raise `budget`.", path=path, dataset=name)
    notes = (f"{slices} slices x {frames} frames",) if frames > 1 else ()
    reader = MatlabReader(path, name, (x, y, coils, slices, frames), axes, len(stored))
    return Contents((slices * frames, coils, x, y), reader, None, True, notes=notes)


def _hdf5_variables(path: Path, key: str | None, budget: int) -> dict[str, tuple[int, ...]]:
    """Complex variables of a 7.3 file with their sizes in MATLAB's order."""
    check_signature(path)
    found: dict[str, tuple[int, ...]] = {}
    with opened(path) as file:
        for name in [key] if key else keys(file):
            data = find(file, name, path) if key is None else required(file, name, path)
            if data is not None and data.dtype.names is not None and len(data.shape or ()) >= 2:
                complex_fields(data.shape, data.dtype)
                check_budget(data, path, math.prod(data.shape[:-3]), budget)
                found[name] = tuple(int(n) for n in data.shape[::-1])
    return found


def _old_variables(path: Path) -> dict[str, tuple[int, ...]]:
    """Variables of a file before 7.3 with their sizes; the list is read, not the data."""
    from scipy.io import whosmat

    with readable(path):
        numbers = ("double", "single")
        return {name: tuple(map(int, shape)) for name, shape, kind in whosmat(path) if kind in numbers}


@lru_cache(maxsize=1)
def _variable(path: Path, name: str, changed: int) -> NDArray[Any]:
    from scipy.io import loadmat

    with readable(path):
        values = np.asarray(loadmat(path, variable_names=[name], verify_compressed_data_integrity=True)[name])
    if values.dtype.kind != "c":
        raise DataError(
            f"is {values.dtype}, not complex; magnitudes cannot be used as k-space.", path=path, dataset=name
        )
    return values


def _chosen(path: Path, found: dict[str, tuple[int, ...]], key: str | None) -> str:
    names = [n for n in found if (n == key if key else n.lower().startswith("k") and len(found[n]) >= 2)]
    if len(names) != 1:
        raise DataError(f"wanted one complex variable of k-space, found {', '.join(found) or 'none'}; pass key=.",
                        path=path, dataset=key)  # fmt: skip
    return names[0]


def _third_axis(path: Path, name: str, stored: tuple[int, ...], axes: MatlabAxes | None) -> MatlabAxes:
    rank = len(stored)
    if not 2 <= rank <= 5 or min(stored) < 1 or (rank == 5 and axes == "slices"):
        raise DataError(f"wanted (x, y, coils, slices, frames), got {stored}.", path=path, dataset=name)
    if axes is not None or rank == 5:
        return axes or "coils"
    if "single" in name.lower() or rank == 2:
        return "slices"
    raise DataError(
        f"is {stored}: pass axes='coils' if it is (x, y, coils[, slices]), axes='slices' if it is single-coil "
        "(x, y, slices[, frames]); on the command line --open axes=coils or --open axes=slices.",
        path=path,
        dataset=name,
    )
