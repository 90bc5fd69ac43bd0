"""kspace (slices, coils, h, w): what every k-space file is to the rest of the library, one slice at a time.

k-space is centred; image = fftshift(ifft2(ifftshift(kspace), norm="ortho")); h is the read-out, w the phase encoding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from invdiff.data.contents import Contents
from invdiff.data.errors import DataError
from invdiff.data.finite import nonfinite_points, refuse_nonfinite
from invdiff.data.geometry import Geometry
from invdiff.data.guarded import guarded
from invdiff.data.header import Header, parse_header
from invdiff.data.stored_mask import gaps, infer_mask

_T = TypeVar("_T")


class Measured(NamedTuple):
    """One slice: `kspace` (coils, h, w), `sampling` (w,) or (h, w), and which points (h, w) were repaired."""

    kspace: Tensor
    sampling: Tensor
    lost: Tensor


@dataclass(frozen=True)
class KSpaceFile:
    """A file whose structure has been checked; slices are read, and checked, when asked for.

    No handle is kept between reads, so that an object can be pickled and used after a fork.

    Attributes:
        path: the file.
        format: a key of `invdiff.data.formats.FORMATS`.
        contents: what opening it found.
        isolated: whether it is read in a process of its own (`invdiff.data.guarded`).
        repair: whether points that are NaN or infinite in a coil become zero in all and count as not sampled.
    """

    path: Path
    format: str
    contents: Contents
    isolated: bool = True
    repair: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(slices, coils, h, w)."""
        return self.contents.shape

    @property
    def n_slices(self) -> int:
        """Number of slices, frames and contrasts counted apart."""
        return self.contents.shape[0]

    @property
    def mask(self) -> Tensor | None:
        """The mask that the file stores, bool (w,) or (h, w); None where it holds none. `sampling` says more."""
        return None if self.contents.mask is None else torch.from_numpy(self.contents.mask)

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes; `max`, `norm` and `acceleration` are numbers even where they were stored as text."""
        return self.contents.attrs

    @property
    def acquisition(self) -> str | None:
        """Contrast, such as AXT2 or CORPD_FBK; None where the file does not say."""
        value = self.attrs.get("acquisition")
        return None if value is None else str(value)

    @property
    def reference_name(self) -> str | None:
        """What `reference` reads, or None."""
        return None if self.contents.reference is None else self.contents.reference[0]

    @property
    def header(self) -> Header | None:
        """The ISMRMRD header, None where the file has none.

        Raises:
            DataError: it is there and malformed.
        """
        if self.contents.header is None:
            return None
        try:
            return parse_header(self.contents.header)
        except ValueError as error:
            raise DataError(f"{error}; give the crop size explicitly.", path=self.path,
                            dataset="ismrmrd_header") from error  # fmt: skip

    @property
    def facts(self) -> Header | None:
        """The header, and None where it is malformed too."""
        try:
            return self.header
        except DataError:
            return None

    @property
    def fully_sampled(self) -> bool:
        """Whether all of the middle slice was measured, columns that the header names as padding left out."""
        if self.contents.zeros_are_unsampled:
            middle = self.measured(self.n_slices // 2)
            return middle is not None and bool(middle.sampling.all())
        return self.mask is None or bool(self.mask.all())

    @property
    def crop(self) -> tuple[int, int] | None:
        """(h', w') of the field of view to show: of the reference, else of the header; None where neither says."""
        if self.contents.crop is not None:
            return self.contents.crop
        header = self.facts
        return None if header is None or header.recon is None or min(header.recon) < 1 else header.recon[:2]

    @property
    def geometry(self) -> Geometry | None:
        """Where the pixels lie; without directions where the file gives pixel sizes alone, None without those."""
        if self.contents.geometry is not None:
            return self.contents.geometry
        header = self.facts
        return None if header is None or header.spacing is None else Geometry(header.spacing)

    def kspace(self, i: int) -> Tensor:
        """Slice i, (coils, h, w) complex64, zeros of positive sign where the mask is 0.

        Raises:
            DataError: no such slice, NaN or infinite values, non-zero values outside the mask, or damage.
        """
        return self._loaded(i)[0]

    def sampling(self, i: int) -> Tensor:
        """What was measured of slice i, bool (w,) or (h, w).

        The stored mask, without columns that the header names as padding and the slice has empty; where none is stored,
        what is not zero in some coil, or everything, as the format has it. Points that were repaired are not sampled.

        Raises:
            DataError: as `kspace`, or the slice is all zero and nothing else tells, or a format in which everything is
                sampled where no mask is stored, and zeros between what was measured.
        """
        mask = None if self.contents.zeros_are_unsampled else self.mask
        if mask is not None and not self.repair and not bool(_padding(self.facts, self.shape[-1]).any()):
            return mask
        return self._sampled(*self._loaded(i), i)

    def measured(self, i: int) -> Measured | None:
        """`kspace` and `sampling` of slice i, read from the file once; None for a slice of zeros.

        Raises:
            DataError: as they do.
        """
        kspace, lost = self._loaded(i)
        return Measured(kspace, self._sampled(kspace, lost, i), lost) if bool((kspace != 0).any()) else None

    def status(self, i: int) -> str:
        """'empty' for a slice of zeros, 'ok' otherwise."""
        return "ok" if bool((self.kspace(i) != 0).any()) else "empty"

    def reference(self, i: int) -> Tensor | None:
        """Reference image of slice i, (h', w') float32, or None where the file has none."""
        return self._optional(self.contents.reader.reference, i, self.reference_name)

    def maps(self, i: int) -> Tensor | None:
        """Coil maps that the file stores for slice i, (coils, h, w) complex64, or None.

        Stored maps often come from the fully sampled data, of which an undersampled experiment must not know.
        """
        return self._optional(self.contents.reader.maps, i, self.contents.maps)

    def body_coil(self, i: int) -> Tensor | None:
        """k-space of slice i received with the body coil, (channels, h, w) complex64, or None."""
        return self._optional(self.contents.reader.body_coil, i, self.contents.body_coil)

    def noise(self) -> Tensor | None:
        """Samples of a noise scan, (coils, n) complex64, or None where the file has none."""
        values = self._read(self.contents.reader.noise)
        if values is None:
            return None
        refuse_nonfinite(values, self.path, "noise", None)
        return torch.from_numpy(values)

    def _optional(self, read: Callable[[int], Any], i: int, name: str | None) -> Tensor | None:
        self._check_slice(i)
        if name is None:
            return None
        values = self._read(read, i)
        refuse_nonfinite(values, self.path, name, i)
        return torch.from_numpy(values)

    def _read(self, read: Callable[..., _T], *arguments: int) -> _T:
        return guarded(self.path, read, *arguments) if self.isolated else read(*arguments)

    def _check_slice(self, i: int) -> None:
        if not 0 <= i < self.n_slices:
            raise DataError(f"slice {i} does not exist; there are {self.n_slices}, from 0.", path=self.path)

    def _loaded(self, i: int) -> tuple[Tensor, Tensor]:
        """`kspace` of slice i, and which of its points (h, w) were repaired."""
        self._check_slice(i)
        values = self._read(self.contents.reader.kspace, i)
        lost = nonfinite_points(values) if self.repair else np.zeros(values.shape[1:], np.bool_)
        if lost.any():
            values[:, lost] = 0
        refuse_nonfinite(values, self.path, "kspace", i)
        return _masked(torch.from_numpy(values), self.mask, self.path, i), torch.from_numpy(lost)

    def _sampled(self, kspace: Tensor, lost: Tensor, i: int) -> Tensor:
        """`sampling` of slice i from what `_loaded` gives."""
        if self.contents.zeros_are_unsampled:
            return _inferred(kspace, self.path, i)
        points = (kspace != 0).any(0)
        if self.mask is None:
            _refuse_gaps(points | lost, self.path, i)
        mask = torch.ones(self.shape[-1], dtype=torch.bool) if self.mask is None else self.mask
        mask = mask & ~(_padding(self.facts, self.shape[-1]) & ~points.any(0))
        return mask & ~lost if bool(lost.any()) else mask


def _padding(header: Header | None, width: int) -> Tensor:
    """Columns outside the limits in the header, (w,); none where that would be all."""
    column = torch.arange(width)
    if header is None or header.padding is None:
        return column < 0
    padded = (column < header.padding[0]) | (column >= header.padding[1])
    return column < 0 if bool(padded.all()) else padded


def _inferred(kspace: Tensor, path: Path, i: int) -> Tensor:
    """What is not zero in some coil."""
    try:
        return torch.from_numpy(infer_mask(kspace.numpy()))
    except ValueError as error:
        raise DataError(str(error), path=path, dataset="kspace", slice=i) from error


def _refuse_gaps(points: Tensor, path: Path, i: int) -> None:
    """Zeros at the edges pad; whole columns of them, or many points, between measured ones were not measured."""
    missing = gaps(points.numpy())
    if missing:
        raise DataError(
            f"no mask is stored, and {missing}, so they were not measured. Open with infer_mask=True (on the "
            "command line --open infer_mask=True) to take the mask from the data, or store one as `mask`.",
            path=path,
            dataset="kspace",
            slice=i,
        )


def _masked(kspace: Tensor, mask: Tensor | None, path: Path, i: int) -> Tensor:
    """The sign of a zero can tell what was removed there, so unsampled entries are replaced, not multiplied."""
    if mask is None:
        return kspace
    outside = (~mask).expand(kspace.shape)
    wrong, total = int((kspace[outside] != 0).sum()), int(outside.sum())
    if wrong:
        raise DataError(
            f"{wrong} of {total} values outside the mask ({wrong / total:.1%}) are not zero, so mask and data "
            "disagree; open with infer_mask=True (--open infer_mask=True on the command line) to take the mask "
            "from the data.",
            path=path,
            dataset="kspace",
            slice=i,
        )
    return torch.where(mask, kspace, torch.zeros_like(kspace))
