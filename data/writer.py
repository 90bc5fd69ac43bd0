"""reconstruction (slices, H, W) float32: the HDF5 layout of fastMRI's leaderboards, written whole or not at all."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invdiff.data.atomic import write_files

Attribute = str | int | float | bool


def write_reconstruction(
    path: str | os.PathLike[str],
    images: Tensor | NDArray[np.floating],
    attrs: Mapping[str, Attribute] | None = None,
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
    overwrite: bool = False,
) -> None:
    """Write the dataset `reconstruction`, the layout that fastMRI's evaluation reads.

    Args:
        path: the file to make; its folder must exist.
        images: (slices, H, W) real magnitudes, stored as float32.
        attrs: attributes of the file.
        inputs: files that the images were made from; none of them is ever overwritten.
        overwrite: replace an existing reconstruction. A file that holds `kspace` is never replaced.

    Raises:
        ValueError: images are not real, finite and three-dimensional.
        TypeError: an attribute is neither text nor a number.
        DataError: the path is an input or in use, or the disk refused; nothing is left behind.
    """
    path = Path(path)
    write_files({path: _compose(real_volume(images), attrs or {})}, inputs=inputs, overwrite=overwrite)


def real_volume(images: Tensor | NDArray[np.floating]) -> NDArray[np.float32]:
    """The images as (slices, H, W) float32.

    Raises:
        ValueError: they are not real, finite and three-dimensional.
    """
    values = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else np.asarray(images)
    if values.ndim != 3 or values.size == 0:
        raise ValueError(f"images must be (slices, H, W), got {values.shape}.")
    if values.dtype.kind not in "fiu":
        raise ValueError(f"images must be real, got {values.dtype}; take the magnitude first.")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, np.float32)
    bad = ~np.isfinite(values)
    if bad.any():
        first = tuple(int(n) for n in np.argwhere(bad)[0])
        raise ValueError(f"images hold {int(bad.sum())} values that are NaN, infinite or beyond float32, the first at "
                         f"{first}; a failed reconstruction is not written.")  # fmt: skip
    return values


def _compose(values: NDArray[np.float32], attrs: Mapping[str, Attribute]) -> bytes:
    """The bytes of the whole HDF5 file."""
    for name, value in attrs.items():
        if not isinstance(value, str | int | float):
            raise TypeError(f"attribute '{name}' must be text or a number, got {type(value).__name__}.")
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        file.create_dataset("reconstruction", data=values, fletcher32=True, chunks=(1, *values.shape[1:]))
        file.attrs.update(attrs)
        file.flush()
        return bytes(file.id.get_file_image())
