"""1 = sampled: the mask that comes with k-space in a file, or that the zeros of k-space imply."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError
from invdiff.data.hdf5 import check_budget, find


def read_mask(file: h5py.File, path: Path, h: int, w: int) -> NDArray[np.bool_] | None:
    """The dataset `mask` as bool (w,) or (h, w), None where there is none.

    Axes of length one are dropped. Stored values may be bool, integer or float, as long as they are 0 and 1.

    Raises:
        DataError: another shape or type, fractional values, or all zero.
    """
    data = find(file, "mask", path)
    if data is None:
        return None
    if data.dtype.kind not in "biuf":
        raise DataError(f"wanted bool or 0 and 1, got {data.dtype}.", path=path, dataset="mask")
    check_shape(tuple(data.shape or ()), (h, w), path)
    check_budget(data, path)
    return checked_mask(np.asarray(data[()]), (h, w), path)


def check_shape(found: tuple[int, ...], shape: tuple[int, int], path: Path) -> None:
    """Refuse what is neither (w,) nor (h, w), axes of length one left out."""
    sizes = tuple(n for n in found if n != 1)
    if sizes not in ((shape[1],), tuple(n for n in shape if n != 1)):
        raise DataError(f"wanted a mask of shape ({shape[1]},) or {shape}, got {found}.", path=path, dataset="mask")


def checked_mask(values: NDArray[Any], shape: tuple[int, int], path: Path) -> NDArray[np.bool_]:
    """The values as bool (w,) or (h, w).

    Raises:
        DataError: another shape or type, fractional values, or all zero.
    """
    if values.dtype.kind not in "biuf":
        raise DataError(f"wanted bool or 0 and 1, got {values.dtype}.", path=path, dataset="mask")
    check_shape(values.shape, shape, path)
    values = values.reshape(shape[1:] if values.size == shape[1] else shape)
    wrong = int(((values != 0) & (values != 1)).sum())
    if wrong:
        raise DataError(f"{wrong} values are neither 0 nor 1; a mask says sampled or not.", path=path, dataset="mask")
    if not values.any():
        raise DataError("is all zero, so nothing was measured; check the file.", path=path, dataset="mask")
    return np.asarray(values != 0)


def infer_mask(kspace: NDArray[np.complexfloating]) -> NDArray[np.bool_]:
    """Points where any coil of (coils, h, w) is not zero, bool (h, w), or (w,) where all rows agree.

    Raises:
        ValueError: k-space is all zero.
    """
    points = (kspace != 0).any(0)
    if not points.any():
        raise ValueError("k-space is all zero, so no mask can be inferred from it.")
    return points[0] if (points == points[0]).all() else points


SCATTERED = 0.3
"""Share of zeros between measured points above which they are a pattern; around a disc in its square it is 0.21."""


def gaps(points: NDArray[np.bool_]) -> str:
    """What is missing between the measured points (h, w) of k-space that should be complete; empty where nothing is.

    Columns without any point between columns that have some, or more than `SCATTERED` of the points.
    """
    columns = np.flatnonzero(points.any(0))
    if not len(columns):
        return ""
    between = columns[-1] - columns[0] + 1
    if len(columns) < between:
        return f"{between - len(columns)} of {between} columns between measured ones are zero"
    rows = np.flatnonzero(points.any(1))
    inside = points[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    zeros = 1 - float(inside.mean())
    return f"{zeros:.0%} of the points between measured ones are zero" if zeros > SCATTERED else ""
