"""kspace (x, ky, kz, echoes, coils), maps (x, y, z, coils, 1), target (x, y, z, echoes, 1): SKM-TEA's HDF5 files.

The read-out has been transformed already, so a position x is a slice (h, w) = (ky, kz). Source: Desai et al., SKM-TEA,
NeurIPS Datasets and Benchmarks 2021, arXiv:2203.06823, and the description published with the data.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from invdiff.data.contents import Contents, Reader
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET, attributes, check_budget, find, opened, required
from invdiff.data.layout import as_complex64, complex_fields


@dataclass(frozen=True)
class SkmTeaReader(Reader):
    """Reads one echo."""

    echo: int

    def kspace(self, i: int) -> NDArray[np.complex64]:
        """Position i of the echo, (coils, ky, kz)."""
        return np.ascontiguousarray(np.moveaxis(self._read("kspace", (i, ..., self.echo, slice(None))), -1, 0))

    def reference(self, i: int) -> NDArray[np.float32] | None:
        """Magnitude of `target`."""
        return np.abs(self._read("target", (i, ..., self.echo, 0)))

    def maps(self, i: int) -> NDArray[np.complex64] | None:
        """The first set of maps, (coils, y, z)."""
        return np.ascontiguousarray(np.moveaxis(self._read("maps", (i, ..., 0)), -1, 0))

    def _read(self, name: str, where: tuple[object, ...]) -> NDArray[np.complex64]:
        with opened(self.path) as file:
            data = required(file, name, self.path)
            return as_complex64(np.asarray(data[where]), complex_fields(data.shape, data.dtype))


def open_skmtea(path: Path, *, echo: int = 0, budget: int = BUDGET) -> Contents:
    """Check the structure of an SKM-TEA file.

    Zeros tell what was not acquired (elliptical sampling and padding); the masks stored under `masks/` are for
    retrospective undersampling and are not applied.

    Args:
        path: an HDF5 file of the raw data track.
        echo: which echo, from 0.
        budget: bytes that one read may ask for.

    Raises:
        DataError: other shapes, or no such echo.
    """
    with opened(path) as file:
        data = required(file, "kspace", path)
        sizes = _sizes(data, path)
        if not 0 <= echo < sizes[3]:
            raise DataError(f"has {sizes[3]} echoes, from 0; echo {echo} is none of them.", path=path, dataset="kspace")
        check_budget(data, path, sizes[0], budget)
        target = _companion(file, path, "target", (*sizes[:4],), budget)
        maps = _companion(file, path, "maps", (*sizes[:3], sizes[4]), budget)
        attrs = {k: v for k, v in attributes(file).items() if isinstance(v, str | int | float)}
    x, ky, kz, _, coils = sizes
    return Contents(
        (x, coils, ky, kz),
        SkmTeaReader(path, echo),
        None,
        True,
        attrs,
        reference=("target", (ky, kz)) if target else None,
        maps="maps" if maps else None,
        notes=(f"echo {echo} of {sizes[3]}",),
    )


def _sizes(data: h5py.Dataset, path: Path) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in data.shape or ())
    try:
        complex_fields(sizes, data.dtype)
    except ValueError as error:
        raise DataError(str(error), path=path, dataset="kspace") from error
    if len(sizes) != 5 or min(sizes) < 1:
        raise DataError(f"wanted (x, ky, kz, echoes, coils), got {sizes}.", path=path, dataset="kspace")
    return sizes


def _companion(file: h5py.File, path: Path, name: str, sizes: tuple[int, ...], budget: int) -> bool:
    """Whether `name` is there; DataError where it does not fit k-space."""
    data = find(file, name, path)
    if data is None:
        return False
    if tuple(data.shape or ())[:-1] != sizes or data.shape[-1] < 1:
        raise DataError(f"wanted {sizes} and one more axis, got {data.shape}.", path=path, dataset=name)
    try:
        complex_fields(data.shape, data.dtype)
    except ValueError as error:
        raise DataError(str(error), path=path, dataset=name) from error
    check_budget(data, path, sizes[0], budget)
    return True
