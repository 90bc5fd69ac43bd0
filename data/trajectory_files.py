"""Trajectories (..., 2) or (..., 3) and the samples along them, as stored in .npy, .npz and HDF5 files."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invdiff.data.errors import DataError
from invdiff.data.hdf5 import check_budget, opened, required

Values = NDArray[Any]


def read_trajectory(path: str | Path, name: str = "trajectory") -> Tensor:
    """A stored trajectory of any shape (..., 2) or (..., 3), float64, in the units of the file.

    Args:
        path: .npy, .npz or HDF5 (.h5, .hdf5).
        name: of the array in .npz and HDF5.

    Raises:
        DataError: the file cannot be used; says what was found.
    """
    values = _stored(Path(path), name)
    if values.dtype.kind not in "iuf" or values.ndim < 2 or values.shape[-1] not in (2, 3):
        hint = " It is complex: store real and imaginary part as two axes." if values.dtype.kind == "c" else ""
        raise DataError(f"wanted real positions (..., 2) or (..., 3), got {values.dtype} {values.shape}.{hint}",
                        path=path, dataset=name)  # fmt: skip
    return torch.from_numpy(_finite(values, path, name).astype(np.float64))


def read_samples(path: str | Path, name: str = "kspace") -> Tensor:
    """Stored samples along a trajectory, as they lie in the file, complex64.

    Args:
        path: .npy, .npz or HDF5 (.h5, .hdf5).
        name: of the array in .npz and HDF5.

    Raises:
        DataError: the file cannot be used; says what was found.
    """
    values = _stored(Path(path), name)
    if values.dtype.kind != "c":
        raise DataError(f"wanted complex samples, got {values.dtype} {values.shape}.", path=path, dataset=name)
    return torch.from_numpy(_finite(values, path, name).astype(np.complex64))


def _stored(path: Path, name: str) -> Values:
    if path.suffix in (".h5", ".hdf5"):
        with opened(path) as file:
            data = required(file, name, path)
            check_budget(data, path)
            return np.asarray(data[()])
    if path.suffix not in (".npy", ".npz"):
        raise DataError("has an unknown ending; wanted .npy, .npz, .h5 or .hdf5.", path=path)
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else _member(loaded, path, name)
    except DataError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot be read as arrays ({error}); save it again, without pickled objects.",
                        path=path) from error  # fmt: skip


def _member(loaded: np.lib.npyio.NpzFile, path: Path, name: str) -> Values:
    with loaded:
        if name not in loaded:
            raise DataError(f"has no array '{name}'; it holds {', '.join(loaded)}.", path=path)
        return np.asarray(loaded[name])


def _finite(values: Values, path: str | Path, name: str) -> Values:
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(f"{int(bad.sum())} of {values.size} values are NaN or infinite; leave these samples out of "
                        "trajectory and data.", path=path, dataset=name)  # fmt: skip
    return values
