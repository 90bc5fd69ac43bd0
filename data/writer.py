"""reconstruction (slices, H, W) float32: one HDF5 file, written whole or not at all.

The file is composed in memory, written under another name in the same folder, flushed to disk, read back and renamed,
so that a full disk or a killed job never leaves something that looks like a result.
"""

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invdiff.data.errors import DataError

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
    content = _compose(_checked(images), attrs or {})
    _check_target(path, [Path(p) for p in inputs], overwrite)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        _write_through(temporary, content)
        if temporary.read_bytes() != content:
            raise DataError("what was read back differs from what was written; check the disk.", path=path)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise DataError(f"could not be written ({error.strerror}); {len(content)} bytes are needed, and nothing was "
                        "left behind.", path=path) from error  # fmt: skip
    finally:
        temporary.unlink(missing_ok=True)


def _checked(images: Tensor | NDArray[np.floating]) -> NDArray[np.float32]:
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


def _check_target(path: Path, inputs: list[Path], overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} does not exist; make it first.", path=path)
    if not path.exists():
        return
    if any(p.exists() and p.samefile(path) for p in inputs) or _holds_kspace(path):
        raise DataError("is an input and is never overwritten; write to another folder.", path=path)
    if not overwrite:
        raise DataError("exists already; pass overwrite=True to replace it.", path=path)


def _holds_kspace(path: Path) -> bool:
    """Whether it may be measured data; a damaged file is no reason to keep it."""
    try:
        with h5py.File(path, "r") as file:
            return "kspace" in list(file.keys())
    except (OSError, RuntimeError, KeyError):
        return False


def _write_through(path: Path, content: bytes) -> None:
    with path.open("xb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system lets folders be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
