"""1 = sampled: masks that somebody else made, from .npy, .npz, .txt, .h5, .mat and .cfl files."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invdiff.data.errors import DataError
from invdiff.data.guarded import guarded
from invdiff.data.hdf5 import check_budget, opened, required
from invdiff.data.kspace_arrays import array_headers, load_array, readable
from invdiff.data.kspace_bart import bart_pair, read_dims
from invdiff.data.stored_mask import checked_mask

_BUDGET = 2**28  # bytes; masks are small


def load_mask(path: str | os.PathLike[str], shape: tuple[int, int], *, key: str = "mask") -> Tensor:
    """A mask for k-space of `shape` (h, w), bool (w,) or (h, w).

    Args:
        path: .npy; .npz, .h5, .mat with the array `key`; .cfl; or .txt and .csv with numbers. Axes of length one are
            dropped; MATLAB's are put back in MATLAB's order.
        shape: (h, w).
        key: such as "mask", or "masks/poisson_6.0x" of an SKM-TEA file.

    Raises:
        DataError: no such file or array, another shape, values other than 0 and 1, or all zero.
    """
    path = Path(path)
    return torch.from_numpy(guarded(path, _read, path, shape, key))


def _read(path: Path, shape: tuple[int, int], key: str) -> NDArray[np.bool_]:
    read = _READERS.get(path.suffix.lower())
    if read is None or not path.is_file():
        what = "does not exist" if not path.is_file() else f"ends in none of {', '.join(_READERS)}"
        raise DataError(f"{what}; give a mask file.", path=path)
    return checked_mask(read(path, key), shape, path)


def _npy(path: Path, key: str) -> NDArray[Any]:
    return load_array(path, None)


def _npz(path: Path, key: str) -> NDArray[Any]:
    found = array_headers(path)
    if key not in found:
        raise DataError(f"has no array '{key}'; it holds {', '.join(found)}.", path=path)
    if int(np.prod(found[key][0], dtype=object)) * found[key][1].itemsize > _BUDGET:
        raise DataError(f"is {found[key][0]}, too large for a mask.", path=path, dataset=key)
    return load_array(path, key)


def _text(path: Path, key: str) -> NDArray[Any]:
    with readable(path):
        lines = path.read_text().replace(",", " ").split("\n")
        return np.array([[float(word) for word in line.split()] for line in lines if line.strip()])


def _hdf5(path: Path, key: str) -> NDArray[Any]:
    with opened(path) as file:
        data = required(file, key, path)
        check_budget(data, path, budget=_BUDGET)
        return np.asarray(data[()])


def _mat(path: Path, key: str) -> NDArray[Any]:
    if h5py.is_hdf5(path):
        return _hdf5(path, key).T
    from scipy.io import loadmat

    with readable(path):
        found = loadmat(path, variable_names=[key])
    if key not in found:
        raise DataError(f"has no variable '{key}'.", path=path)
    return np.asarray(found[key])


def _cfl(path: Path, key: str) -> NDArray[Any]:
    pair = bart_pair(path)
    assert pair is not None
    values = np.fromfile(pair[1], "<c8").reshape(read_dims(*pair), order="F")
    return values.real if not values.imag.any() else values


_READERS: dict[str, Callable[[Path, str], NDArray[Any]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".txt": _text,
    ".csv": _text,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".mat": _mat,
    ".cfl": _cfl,
}
