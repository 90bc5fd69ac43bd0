"""Reading HDF5 files that may be truncated, damaged or hostile: every failure is a DataError.

Only hard links and storage inside the file are followed, and sizes are compared with a budget before anything is read.
A damaged structure can also kill the process inside the HDF5 library; jobs over many files should read each in a child
process.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from invdiff.data.errors import DataError

BUDGET = 4 * 2**30  # bytes that one read may ask for
_RATIO = 200  # declared bytes per stored byte; k-space compresses by less than 10, zeros by 1000


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading; whatever HDF5 raises inside the block becomes a DataError."""
    check_signature(path)
    with explained(path), h5py.File(path, "r") as file:
        yield file


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Whatever HDF5 raises inside the block becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # HDF5 reports damage through at least six exception types
        raise _damaged(path, error) from error


def check_signature(path: Path) -> None:
    """Refuse what cannot be opened, is empty or is not HDF5."""
    if path.is_dir():
        raise DataError("is a folder; give one HDF5 file.", path=path)
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror}); check the path.", path=path) from error
    if size == 0:
        raise DataError("is empty (0 bytes); download or copy it again.", path=path)
    if not h5py.is_hdf5(path):
        raise DataError(f"is not an HDF5 file ({size} bytes); fastMRI files are HDF5 with the ending .h5.", path=path)


def _damaged(path: Path, error: Exception) -> DataError:
    sizes = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", str(error))
    if sizes:
        have, want = sizes.groups()
        return DataError(f"is truncated: {have} of {want} bytes are here; download again.", path=path)
    reason = f"{type(error).__name__}: {error}"
    return DataError(f"its HDF5 structure or data is damaged ({reason}); download again.", path=path)


def find(file: h5py.File, name: str, path: Path) -> h5py.Dataset | None:
    """The dataset called `name`, None where there is none.

    Raises:
        DataError: a component of the name is a soft or external link, or the data lie in other files.
    """
    node: h5py.Group | h5py.Dataset = file
    for part in name.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
            raise DataError(f"'{part}' is {kind}, which is not followed; store the data in the file.",
                            path=path, dataset=name)  # fmt: skip
        node = node[part]
    if not isinstance(node, h5py.Dataset):
        return None
    if node.is_virtual or node.external:
        raise DataError("keeps its data in other files, which are not read; store the data in the file.",
                        path=path, dataset=name)  # fmt: skip
    return node


def required(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """The dataset called `name`; where it is missing, a DataError that lists what is there."""
    data = find(file, name, path)
    if data is not None:
        return data
    names = keys(file)
    message = f"has no dataset '{name}'; it holds {', '.join(names) or 'nothing'}."
    if "dataset" in names or {"xml", "data"} <= set(names):
        message += " It looks like ISMRMRD raw data: open it with format='ismrmrd' and its group."
    elif names == ["data"]:
        message += " It looks like LoDoPaB-CT (sinograms or CT images): use a CT recipe."
    raise DataError(message, path=path, dataset=name)


def check_budget(data: h5py.Dataset, path: Path, items: int = 1, budget: int = BUDGET) -> None:
    """Refuse a dataset of which one item in `items` exceeds the budget, or that unpacks beyond belief.

    Raises:
        DataError: names the declared size, the stored size and the budget.
    """
    declared = _declared_bytes(data)
    stored = data.id.get_storage_size()
    one = max(declared // max(items, 1), _chunk_bytes(data))
    if one > budget or (declared > budget and declared > _RATIO * max(stored, 1)):
        raise DataError(
            f"declares {declared} bytes ({one} per read) and stores {stored}, over the budget of {budget} bytes per "
            "read; if the file is sound, raise `budget`.",
            path=path,
            dataset=data.name.lstrip("/"),
        )


def _declared_bytes(data: h5py.Dataset) -> int:
    count = 1
    for n in data.shape or ():
        count *= int(n)
    return count * int(data.dtype.itemsize)


def _chunk_bytes(data: h5py.Dataset) -> int:
    """A chunk is unpacked whole, however little of it is asked for."""
    return math.prod(int(n) for n in data.chunks or (0,)) * int(data.dtype.itemsize)


def keys(file: h5py.File) -> list[str]:
    """Names at the root, in order."""
    return sorted(str(k) for k in file.keys())


def attributes(owner: h5py.File | h5py.Dataset, limit: int = 2**20) -> dict[str, object]:
    """Attributes as plain Python values where possible (see `plain`); those of more than `limit` bytes are left out."""
    found: dict[str, object] = {}
    for name in owner.attrs.keys():
        stored = owner.attrs.get_id(name)
        if max(stored.get_storage_size(), math.prod(stored.shape) * int(stored.dtype.itemsize)) <= limit:
            found[str(name)] = plain(owner.attrs[name])
    return found


def plain(value: object) -> object:
    """bytes to text, one-element arrays and NumPy scalars to Python scalars; anything else unchanged."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, np.generic):
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
