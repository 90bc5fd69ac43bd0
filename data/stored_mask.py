"""1 = sampled: the mask that comes with k-space in a file, or that the zeros of k-space imply."""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from invdiff.data.errors import DataError
from invdiff.data.hdf5 import check_budget, find


def read_mask(file: h5py.File, path: Path, h: int, w: int) -> Tensor | None:
    """The dataset `mask` as bool (w,) or (h, w), None where there is none.

    Axes of length one are dropped. Stored values may be bool, integer or float, as long as they are 0 and 1.

    Raises:
        DataError: another shape or type, fractional values, or all zero.
    """
    data = find(file, "mask", path)
    if data is None:
        return None
    sizes = tuple(n for n in data.shape or () if n != 1)
    wanted = tuple(n for n in (h, w) if n != 1)
    if sizes not in ((w,), wanted):
        raise DataError(f"wanted a mask of shape ({w},) or ({h}, {w}), got {data.shape}.", path=path, dataset="mask")
    if data.dtype.kind not in "biuf":
        raise DataError(f"wanted bool or 0 and 1, got {data.dtype}.", path=path, dataset="mask")
    check_budget(data, path)
    values = np.asarray(data[()]).reshape(sizes if sizes == (w,) else (h, w))
    wrong = int(((values != 0) & (values != 1)).sum())
    if wrong:
        raise DataError(f"{wrong} values are neither 0 nor 1; a mask says sampled or not.", path=path, dataset="mask")
    if not values.any():
        raise DataError("is all zero, so nothing was measured; check the file.", path=path, dataset="mask")
    return torch.from_numpy(values != 0)


def infer_mask(kspace: Tensor) -> Tensor:
    """Points where any coil of (coils, h, w) is not zero, bool (h, w), or (w,) where all rows agree.

    Raises:
        ValueError: k-space is all zero.
    """
    points = (kspace != 0).any(0)
    if not bool(points.any()):
        raise ValueError("k-space is all zero, so no mask can be inferred from it.")
    return points[0] if bool((points == points[0]).all()) else points
