"""kspace (slices, coils, h, w): the fastMRI HDF5 layout, one slice at a time.

k-space is stored centred; image = fftshift(ifft2(ifftshift(kspace), norm="ortho")); h is the read-out, w the phase
encoding. Beside the published datasets, `maps` (slices, coils, h, w) and `kspace_body_coil` (slices, channels, h, w),
the same slices received with the body coil, are read where a file has them. Layout as described with the data set:
Zbontar et al., fastMRI, arXiv:1811.08839.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from invdiff.data.contents import Contents, Reader
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET, attributes, check_budget, find, keys, opened, plain, required
from invdiff.data.header import parse_header
from invdiff.data.layout import Axes, Layout, find_layout
from invdiff.data.stored_mask import read_mask

BODY_COIL = "kspace_body_coil"
_NUMBERS = ("max", "norm", "acceleration", "num_low_frequency")


@dataclass(frozen=True)
class FastMRIReader(Reader):
    """Reads datasets of equal length along the first axis."""

    layout: Layout
    reference_name: str | None
    maps_layout: Layout | None
    body_layout: Layout | None = None

    def kspace(self, i: int) -> NDArray[np.complex64]:
        """Slice i, (coils, h, w)."""
        return self._complex("kspace", self.layout, i)

    def reference(self, i: int) -> NDArray[np.float32] | None:
        """Stored magnitude of slice i."""
        if self.reference_name is None:
            return None
        with opened(self.path) as file, np.errstate(over="ignore"):
            return np.asarray(required(file, self.reference_name, self.path)[i], np.float32)

    def maps(self, i: int) -> NDArray[np.complex64] | None:
        """Stored maps of slice i."""
        return None if self.maps_layout is None else self._complex("maps", self.maps_layout, i)

    def body_coil(self, i: int) -> NDArray[np.complex64] | None:
        """k-space of slice i through the body coil."""
        return None if self.body_layout is None else self._complex(BODY_COIL, self.body_layout, i)

    def _complex(self, name: str, layout: Layout, i: int) -> NDArray[np.complex64]:
        with opened(self.path) as file:
            return layout.complex64(required(file, name, self.path)[layout.index(i)])


def open_fastmri(
    path: Path, *, axes: Axes | None = None, pairs: bool = False, infer_mask: bool = False, budget: int = BUDGET
) -> Contents:
    """Check the structure of a fastMRI file.

    Args:
        path: an HDF5 file with the dataset `kspace` (slices, coils, h, w), or (slices, h, w) for a single coil.
            Complex of any precision and byte order, or compound with fields r, i or real, imag.
        axes: needed for 3-D k-space that nothing marks as single-coil: "slices" or "coils" is the first axis. A file
            with `reconstruction_esc`, one receiver channel, or in a folder `singlecoil_*` is single-coil.
        pairs: the last axis of k-space is (real, imaginary).
        infer_mask: take as sampled what is not zero in a slice, in place of the stored mask.
        budget: bytes that one read may ask for.

    Raises:
        DataError: the file cannot be used; names file and dataset, what was found and what to do.
    """
    with opened(path) as file:
        data = required(file, "kspace", path)
        header = _read_header(file, path)
        layout = _layout(data, path, axes, pairs, _is_single_coil(file, path, header))
        check_budget(data, path, 1 if layout.axes == "coils" else layout.shape[0], budget)
        mask = None if infer_mask else read_mask(file, path, *layout.shape[2:])
        reference = _find_reference(file, path, layout, budget)
        maps = _beside(file, "maps", path, layout, budget)
        body = _beside(file, BODY_COIL, path, layout, budget)
        attrs = _numbers(attributes(file))
    reader = FastMRIReader(path, layout, reference[0] if reference else None, maps, body)
    return Contents(
        layout.shape,
        reader,
        mask,
        infer_mask,
        attrs,
        header,
        reference,
        None if maps is None else "maps",
        None if body is None else BODY_COIL,
        crop=reference[1] if reference else None,
    )


def _layout(data: h5py.Dataset, path: Path, axes: Axes | None, pairs: bool, single: bool) -> Layout:
    try:
        return find_layout(tuple(data.shape or ()), data.dtype, axes, pairs, single)
    except ValueError as error:
        raise DataError(str(error), path=path, dataset=data.name.lstrip("/")) from error


def _beside(file: h5py.File, name: str, path: Path, layout: Layout, budget: int) -> Layout | None:
    """The layout of maps or of the body coil's k-space, None where the file has none."""
    data = find(file, name, path)
    if data is None:
        return None
    found = _layout(data, path, layout.axes, layout.pairs, layout.shape[1] == 1)
    wanted = layout.shape if name == "maps" else (layout.shape[0], found.shape[1], *layout.shape[2:])
    if found.shape != wanted:
        what = name.removeprefix("kspace_").replace("_", " ")
        raise DataError(f"are {found.shape}, where k-space is {layout.shape}; take the {what} of this scan.",
                        path=path, dataset=name)  # fmt: skip
    check_budget(data, path, 1 if found.axes == "coils" else found.shape[0], budget)
    return found


def _read_header(file: h5py.File, path: Path) -> str | None:
    data = find(file, "ismrmrd_header", path)
    if data is None:
        return None
    check_budget(data, path, budget=2**24)
    return str(plain(data[()]))


def _is_single_coil(file: h5py.File, path: Path, header: str | None) -> bool:
    if "reconstruction_esc" in keys(file) or any(p.startswith("singlecoil") for p in path.absolute().parts[:-1]):
        return True
    try:
        return header is not None and parse_header(header).channels == 1
    except ValueError:
        return False


def _find_reference(file: h5py.File, path: Path, layout: Layout, budget: int) -> tuple[str, tuple[int, int]] | None:
    names = ("reconstruction_rss", "reconstruction_esc")
    for name in names[::-1] if layout.shape[1] == 1 else names:
        data = find(file, name, path)
        if data is not None:
            if len(data.shape or ()) != 3 or data.shape[0] != layout.shape[0] or data.dtype.kind not in "iuf":
                raise DataError(f"wanted real ({layout.shape[0]}, h, w), got {data.dtype} {data.shape}.",
                                path=path, dataset=name)  # fmt: skip
            check_budget(data, path, layout.shape[0], budget)
            return name, (int(data.shape[1]), int(data.shape[2]))
    return None


def _numbers(attrs: dict[str, object]) -> dict[str, object]:
    """Some writers store numbers as text; what is no number stays as it is. References and the like are left out."""
    attrs = {k: v for k, v in attrs.items() if isinstance(v, str | int | float | complex | np.ndarray)}
    for name in _NUMBERS:
        try:
            attrs[name] = float(str(attrs[name]))
        except (KeyError, ValueError):
            continue
    lines = attrs.get("num_low_frequency")
    if isinstance(lines, float) and lines.is_integer():
        attrs["num_low_frequency"] = int(lines)
    return attrs
