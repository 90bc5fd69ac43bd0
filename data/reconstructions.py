"""reconstruction (slices, H, W): volumes of images in HDF5, as they were stored."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError
from invdiff.data.finite import refuse_nonfinite
from invdiff.data.guarded import guarded
from invdiff.data.hdf5 import BUDGET, attributes, check_budget, find, opened, required

Volume = NDArray[np.floating]


def read_volume(
    path: str | os.PathLike[str], names: Sequence[str] = ("reconstruction",), budget: int = BUDGET
) -> tuple[Volume, dict[str, object]]:
    """The first of the datasets `names` that the file has, in its own precision, and the attributes of the file.

    Raises:
        DataError: none of them, another rank or type, NaN, or damage.
    """
    volume, attrs, name = guarded(Path(path), _read, Path(path), tuple(names), budget)
    for i, image in enumerate(volume):
        refuse_nonfinite(image, Path(path), name, i)
    return volume, attrs


def _read(path: Path, names: tuple[str, ...], budget: int) -> tuple[Volume, dict[str, object], str]:
    with opened(path) as file:
        found = [name for name in names if find(file, name, path) is not None]
        data = required(file, found[0] if found else names[0], path)
        if len(data.shape or ()) != 3 or min(data.shape) < 1 or data.dtype.kind not in "iuf":
            raise DataError(f"wanted real (slices, h, w), got {data.dtype} {data.shape}.", path=path, dataset=data.name)
        check_budget(data, path, 1, budget)
        attrs: dict[str, object] = {k: v for k, v in attributes(file).items() if isinstance(v, str | int | float)}
        volume: Volume = np.asarray(data[()])
        return volume, attrs, str(data.name).lstrip("/")
