"""kspace (slices, coils, h, w): reader of the fastMRI HDF5 layout, one slice at a time.

k-space is stored centred; image = fftshift(ifft2(ifftshift(kspace), norm="ortho")); h is the read-out, w the phase
encoding. Layout as described with the data set: Zbontar et al., fastMRI, arXiv:1811.08839.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET, attributes, check_budget, find, keys, opened, plain, required
from invdiff.data.header import Header, parse_header
from invdiff.data.layout import Axes, Layout, find_layout
from invdiff.data.stored_mask import infer_mask as mask_of
from invdiff.data.stored_mask import read_mask

_NUMBERS = ("max", "norm", "acceleration", "num_low_frequency")


@dataclass(frozen=True)
class KSpaceFile:
    """A fastMRI file whose structure has been checked; slices are read, and checked, when asked for.

    No handle is kept between reads, so that an object can be pickled and used after a fork.

    Attributes:
        path: the file.
        layout: how the file stores k-space; a single-coil file has one coil.
        mask: sampled columns (w,) or points (h, w), bool, or None where the file holds none (fully sampled, but for
            `header.padding`).
        attrs: attributes; `max`, `norm` and `acceleration` are numbers even where they were stored as text.
        reference_name: dataset that `reference` reads, or None.
    """

    path: Path
    layout: Layout
    mask: Tensor | None
    attrs: dict[str, object]
    reference_name: str | None
    budget: int = BUDGET
    header_text: str | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(slices, coils, h, w)."""
        return self.layout.shape

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.layout.shape[0]

    @property
    def fully_sampled(self) -> bool:
        """Whether no mask is stored, or a mask of ones."""
        return self.mask is None or bool(self.mask.all())

    @property
    def acquisition(self) -> str | None:
        """Contrast, such as AXT2 or CORPD_FBK; None where the file does not say."""
        value = self.attrs.get("acquisition")
        return None if value is None else str(value)

    @property
    def header(self) -> Header | None:
        """The ISMRMRD header, None where the file has none.

        Raises:
            DataError: it is there and malformed.
        """
        if self.header_text is None:
            return None
        try:
            return parse_header(self.header_text)
        except ValueError as error:
            raise DataError(f"{error}; give the crop size explicitly.", path=self.path,
                            dataset="ismrmrd_header") from error  # fmt: skip

    def kspace(self, i: int) -> Tensor:
        """Slice i, (coils, h, w) complex64, zeros of positive sign where the mask is 0.

        Raises:
            DataError: no such slice, NaN or infinite values, non-zero values outside the mask, or damage.
        """
        self._check_slice(i)
        with opened(self.path) as file:
            data = required(file, "kspace", self.path)
            values = self.layout.complex64(data[self.layout.index(i)])
        _refuse_nonfinite(values, self.path, "kspace", i)
        return self._masked(torch.from_numpy(values), i)

    def status(self, i: int) -> str:
        """'empty' for a slice of zeros, 'ok' otherwise."""
        return "ok" if bool((self.kspace(i) != 0).any()) else "empty"

    def reference(self, i: int) -> Tensor | None:
        """Reference image of slice i, (h', w') float32, or None where the file has none."""
        self._check_slice(i)
        if self.reference_name is None:
            return None
        with opened(self.path) as file:
            data = required(file, self.reference_name, self.path)
            values = np.asarray(data[i], np.float32)
        _refuse_nonfinite(values, self.path, self.reference_name, i)
        return torch.from_numpy(values)

    def _check_slice(self, i: int) -> None:
        if not 0 <= i < self.n_slices:
            raise DataError(f"slice {i} does not exist; there are {self.n_slices}, from 0.", path=self.path)

    def _masked(self, kspace: Tensor, i: int) -> Tensor:
        """The sign of a zero can tell what was removed there, so unsampled entries are replaced, not multiplied."""
        if self.mask is None:
            return kspace
        outside = (~self.mask).expand(kspace.shape)
        wrong, total = int((kspace[outside] != 0).sum()), int(outside.sum())
        if wrong:
            raise DataError(
                f"{wrong} of {total} values outside the mask ({wrong / total:.1%}) are not zero, so mask and data "
                "disagree; open with infer_mask=True to take the mask from the data.",
                path=self.path,
                dataset="kspace",
                slice=i,
            )
        return torch.where(self.mask, kspace, torch.zeros_like(kspace))


def open_kspace(
    path: str | PathLike[str],
    *,
    axes: Axes | None = None,
    pairs: bool = False,
    infer_mask: bool = False,
    budget: int = BUDGET,
) -> KSpaceFile:
    """Check a fastMRI file's structure and return it for reading slice by slice.

    Args:
        path: an HDF5 file with the dataset `kspace` (slices, coils, h, w), or (slices, h, w) for a single coil.
            Complex of any precision and byte order, or compound with fields r, i or real, imag.
        axes: needed for 3-D k-space that nothing marks as single-coil: "slices" or "coils" is the first axis. A file
            with `reconstruction_esc`, one receiver channel, or in a folder `singlecoil_*` is single-coil.
        pairs: the last axis of k-space is (real, imaginary).
        infer_mask: take as sampled what is not zero in the middle slice, in place of the stored mask.
        budget: bytes that one read may ask for.

    Raises:
        DataError: the file cannot be used; names file and dataset, what was found and what to do.
    """
    path = Path(path)
    with opened(path) as file:
        data = required(file, "kspace", path)
        header = _read_header(file, path)
        try:
            single = _is_single_coil(file, path, header)
            layout = find_layout(tuple(data.shape or ()), data.dtype, axes, pairs, single)
        except ValueError as error:
            raise DataError(str(error), path=path, dataset="kspace") from error
        check_budget(data, path, 1 if layout.axes == "coils" else layout.shape[0], budget)
        mask = None if infer_mask else read_mask(file, path, *layout.shape[2:])
        reference = _find_reference(file, path, layout, budget)
        attrs = _numbers(attributes(file))
    found = KSpaceFile(path, layout, mask, attrs, reference, budget, header)
    return replace(found, mask=_inferred(found)) if infer_mask else found


def group_by_shape(files: Iterable[KSpaceFile]) -> dict[tuple[int, int, int], list[KSpaceFile]]:
    """Files by (coils, h, w): only those of one group fit in a batch, since nothing is padded."""
    groups: dict[tuple[int, int, int], list[KSpaceFile]] = {}
    for file in files:
        groups.setdefault(file.shape[1:], []).append(file)
    return groups


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


def _inferred(found: KSpaceFile) -> Tensor:
    i = found.n_slices // 2
    try:
        return mask_of(found.kspace(i))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(str(error), path=found.path, dataset="kspace", slice=i) from error


def _find_reference(file: h5py.File, path: Path, layout: Layout, budget: int) -> str | None:
    names = ("reconstruction_rss", "reconstruction_esc")
    for name in names[::-1] if layout.shape[1] == 1 else names:
        data = find(file, name, path)
        if data is not None:
            if len(data.shape or ()) != 3 or data.shape[0] != layout.shape[0] or data.dtype.kind not in "iuf":
                raise DataError(f"wanted real ({layout.shape[0]}, h, w), got {data.dtype} {data.shape}.",
                                path=path, dataset=name)  # fmt: skip
            check_budget(data, path, layout.shape[0], budget)
            return name
    return None


def _numbers(attrs: dict[str, object]) -> dict[str, object]:
    """Some writers store numbers as text; what is no number stays as it is."""
    for name in _NUMBERS:
        try:
            attrs[name] = float(str(attrs[name]))
        except (KeyError, ValueError):
            continue
    lines = attrs.get("num_low_frequency")
    if isinstance(lines, float) and lines.is_integer():
        attrs["num_low_frequency"] = int(lines)
    return attrs


def _refuse_nonfinite(values: NDArray[np.generic], path: Path, dataset: str, i: int) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        first = tuple(int(n) for n in np.argwhere(bad)[0])
        raise DataError(
            f"{int(bad.sum())} of {bad.size} values are NaN, infinite or beyond float32, the first at {first}; "
            "repair or leave out the slice.",
            path=path,
            dataset=dataset,
            slice=i,
        )
