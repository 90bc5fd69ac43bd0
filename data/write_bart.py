"""x[i0, i1, ...] at i0 + d0 (i1 + d1 (...)): images and k-space as BART's .cfl and .hdr."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invdiff.data.atomic import write_files
from invdiff.data.kspace_bart import COILS, SLICES, bart_pair


def write_bart(
    path: str | os.PathLike[str],
    values: Tensor | NDArray[np.number],
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write (slices, h, w) images, or (slices, coils, h, w) k-space or maps.

    h goes to axis 0 (read-out), w to axis 1, coils to axis 3 and slices to axis 13.

    Args:
        path: the .cfl; the .hdr goes beside it.
        values: real or complex, stored as complex64.
        inputs, overwrite: as for `invdiff.data.atomic.write_files`.

    Returns:
        the two paths.

    Raises:
        ValueError: another rank, or NaN. DataError: a path is in use, or the disk refused.
    """
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.ndim not in (3, 4) or array.size == 0 or array.dtype.kind not in "iufc":
        raise ValueError(f"BART files take numbers (slices, h, w) or (slices, coils, h, w), got {array.shape}.")
    with np.errstate(over="ignore"):
        array = array.astype(np.complex64).reshape(len(array), -1, *array.shape[-2:])
    if not np.isfinite(array).all():
        raise ValueError("the values hold NaN or infinity; a failed reconstruction is not written.")
    pair = bart_pair(Path(path))
    if pair is None or Path(path).suffix.lower() not in (".cfl", ".hdr"):
        raise ValueError(f"a BART file ends in .cfl, got {path}.")
    slices, coils, h, w = array.shape
    dims = [h, w, *[1] * 14]
    dims[COILS], dims[SLICES] = coils, slices
    header = "# Dimensions\n" + " ".join(map(str, dims)) + "\n"
    stored = np.moveaxis(array, (2, 3, 1, 0), (0, 1, 2, 3)).astype("<c8").tobytes(order="F")
    write_files({pair[1]: stored, pair[0]: header.encode()}, inputs=inputs, overwrite=overwrite)
    return [pair[1], pair[0]]
