"""y_cj at k_j: files of samples along read-outs with their trajectory, not on a Cartesian grid, one slice at a time.

HDF5 and .npz files hold `kspace` (coils, read-outs, samples), or (slices, coils, read-outs, samples), complex, and
`trajectory` (read-outs, samples, 2), or one for each slice, in cycles per field of view, axis 0 along image rows. They
may also hold `noise` (coils, n), samples without signal; `maps` (coils, h, w); `reference` (h, w); and, as attribute
(HDF5) or array (.npz), `image_size` (h, w). Nothing here loads torch, so that it runs in the process that reads for
`invdiff.data.guarded`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError
from invdiff.data.geometry import Geometry
from invdiff.data.hdf5 import BUDGET, check_budget, find, opened
from invdiff.data.kspace_arrays import array_headers, load_array
from invdiff.data.layout import as_complex64, complex_fields

Shape = tuple[int, int, int, int]
HDF5 = (".h5", ".hdf5")
OPTIONAL = ("noise", "maps", "reference", "image_size")


@dataclass(frozen=True)
class ReadoutFile:
    """What opening a file finds.

    Attributes:
        path: the file.
        shape: (slices, coils, read-outs, samples).
        size: (h, w) of the image as the file has it, or None.
        beside: which of `noise`, `maps` and `reference` it holds.
        format: of the file, for the record.
        notes: what was left out, one sentence each.
        geometry, header: where pixels of images of `size` lie, and ISMRMRD XML, or None.
    """

    path: Path
    shape: Shape
    size: tuple[int, int] | None
    beside: tuple[str, ...]
    format: str = "trajectory"
    notes: tuple[str, ...] = ()
    geometry: Geometry | None = None
    header: str | None = None

    def samples(self, i: int) -> NDArray[np.complex64]:
        """Slice i, (coils, read-outs, samples), finite."""
        return finite(self._slice("kspace", i, 4), self.path, "kspace")

    def trajectory(self, i: int) -> NDArray[np.float64]:
        """Positions of slice i, (read-outs, samples, 2), finite."""
        return finite(self._slice("trajectory", i, 4).astype(np.float64), self.path, "trajectory")

    def extra(self, name: str, i: int) -> NDArray[Any] | None:
        """`noise`, or `maps` or `reference` of slice i, where the file holds it."""
        if name not in self.beside:
            return None
        return finite(self._slice(name, i, {"noise": 3, "maps": 4, "reference": 3}[name]), self.path, name)

    def _slice(self, name: str, i: int, full: int) -> NDArray[Any]:
        """Slice i of an array that has a slice axis where it has `full` axes."""
        with _arrays(self.path) as stored:
            data = stored[name]
            values = np.asarray(data[i] if len(data.shape) == full else data[()])
        return (
            values if values.dtype.kind in "iuf" else as_complex64(values, complex_fields(values.shape, values.dtype))
        )


def is_readouts(path: Path) -> bool:
    """Whether a file holds `kspace` and `trajectory`."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return {"kspace", "trajectory"} <= array_headers(path).keys()
    if suffix not in HDF5 or not path.is_file():
        return False
    with opened(path) as file:
        return all(find(file, name, path) is not None for name in ("kspace", "trajectory"))


def open_readouts(path: Path, *, budget: int = BUDGET) -> ReadoutFile:
    """Check the structure of a file.

    Args:
        path: HDF5 or .npz.
        budget: bytes that one array may take.

    Raises:
        DataError: the file cannot be used; names what was found and what to do.
    """
    with _arrays(path, budget) as stored:
        for name in ("kspace", "trajectory"):
            if name not in stored:
                raise DataError(f"has no array '{name}'; it holds {', '.join(stored)}.", path=path)
        shape = _checked_shape(path, stored["kspace"])
        _check_trajectory(path, stored["trajectory"], shape)
        size = _image_size(path, stored.get("image_size"))
        beside = tuple(name for name in OPTIONAL[:3] if name in stored)
        for name in beside:
            _check_beside(path, name, tuple(stored[name].shape), shape)
    return ReadoutFile(path, shape, size, beside)


@contextmanager
def _arrays(path: Path, budget: int = BUDGET) -> Iterator[dict[str, Any]]:
    """What can be indexed and has shape and dtype, by name."""
    if path.suffix.lower() in HDF5:
        with opened(path) as file:
            names = ("kspace", "trajectory", *OPTIONAL)
            found = {name: data for name in names if (data := find(file, name, path)) is not None}
            for data in found.values():
                check_budget(data, path, 1, budget)
            if "image_size" in file.attrs:
                found["image_size"] = np.asarray(file.attrs["image_size"])
            yield found
    else:
        headers = array_headers(path)
        for name, (shape, dtype) in headers.items():
            if int(np.prod(shape, dtype=object)) * dtype.itemsize > budget:
                raise DataError(f"unpacks beyond the budget of {budget} bytes.", path=path, dataset=name)
        yield {name: load_array(path, name) for name in headers}


def _checked_shape(path: Path, data: Any) -> Shape:
    shape = tuple(int(n) for n in data.shape)
    try:
        complex_fields(shape, data.dtype)
    except ValueError as error:
        raise DataError(str(error), path=path, dataset="kspace") from error
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise DataError(f"wanted (coils, read-outs, samples) or (slices, coils, read-outs, samples), got {shape}.",
                        path=path, dataset="kspace")  # fmt: skip
    slices, coils, lines, samples = shape if len(shape) == 4 else (1, *shape)
    return slices, coils, lines, samples


def _check_trajectory(path: Path, data: Any, shape: Shape) -> None:
    found, wanted = tuple(int(n) for n in data.shape), (*shape[2:], 2)
    if found not in (wanted, (shape[0], *wanted)) or data.dtype.kind not in "iuf":
        hint = " Three axes in space are reconstructed in Python: see NonCartesianMRI." if found[-1:] == (3,) else ""
        raise DataError(f"wanted real {wanted}, one position for each sample, got {data.dtype} {found}.{hint}",
                        path=path, dataset="trajectory")  # fmt: skip


def _image_size(path: Path, stored: Any) -> tuple[int, int] | None:
    if stored is None:
        return None
    sizes = np.asarray(stored[()]).reshape(-1)
    if sizes.size != 2 or sizes.dtype.kind not in "iuf" or not bool(((sizes >= 1) & (sizes == np.round(sizes))).all()):
        raise DataError(f"image_size must be (h, w), two positive whole numbers, got {sizes.tolist()}.", path=path)
    return int(sizes[0]), int(sizes[1])


def _check_beside(path: Path, name: str, found: tuple[int, ...], shape: Shape) -> None:
    axes = {"noise": 2, "maps": 3, "reference": 2}[name]
    single = found if len(found) == axes else found[1:]
    good = len(single) == axes and (name == "reference" or single[0] == shape[1])
    if not good or (len(found) > axes and found[0] != shape[0]):
        wanted = {"noise": "(coils, n)", "maps": "(coils, h, w)", "reference": "(h, w)"}[name]
        raise DataError(f"wanted {wanted} of {shape[1]} coils, or one for each of {shape[0]} slices, got {found}.",
                        path=path, dataset=name)  # fmt: skip


def finite(values: NDArray[Any], path: Path, name: str) -> NDArray[Any]:
    """The values, which must all be finite; a DataError names the first that is not."""
    bad = ~np.isfinite(values)
    if bad.any():
        first = tuple(int(n) for n in np.argwhere(bad)[0])
        raise DataError(f"{int(bad.sum())} of {values.size} values are NaN or infinite, the first at {first}; leave "
                        "these samples out of trajectory and data.", path=path, dataset=name)  # fmt: skip
    return values
