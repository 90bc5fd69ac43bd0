"""open_projections(path): one door to the projections of `invdiff.data.projection_formats.PROJECTION_FORMATS`.

file = open_projections("scan.h5")
for i in range(file.n_slices):
    p, variance = file.line_integrals(i)
"""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from invdiff.checks import nearest
from invdiff.data.beam import Beam
from invdiff.data.errors import DataError
from invdiff.data.finite import refuse_nonfinite
from invdiff.data.guarded import guarded
from invdiff.data.line_integrals import FLOOR, line_integrals
from invdiff.data.projection_formats import PROJECTION_FORMATS, open_projection_contents
from invdiff.data.projections_contents import ProjectionContents

_T = TypeVar("_T")


@dataclass(frozen=True)
class ProjectionFile:
    """A scan whose structure has been checked; slices are read, and checked, when asked for.

    Attributes:
        path: the file or folder.
        format: a key of `PROJECTION_FORMATS`.
        contents: what opening it found.
        isolated: whether it is read in a process of its own (`invdiff.data.guarded`).
    """

    path: Path
    format: str
    contents: ProjectionContents
    isolated: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, views, bins)."""
        return self.contents.shape

    @property
    def n_slices(self) -> int:
        return self.contents.shape[0]

    @property
    def beam(self) -> Beam:
        """Where the rays ran."""
        return self.contents.beam

    def measured(self, i: int) -> Tensor:
        """Slice i as it was measured, (view, bin) float32: counts without dark signal, or line integrals.

        Raises:
            DataError: no such slice, NaN or infinity, or damage.
        """
        self._check_slice(i)
        values = self._read(self.contents.reader.projections, i)
        if values.shape != self.shape[1:]:
            raise DataError(f"is {values.shape} now, {self.shape[1:]} when it was opened; open it again.",
                            path=self.path, slice=i)  # fmt: skip
        refuse_nonfinite(values, self.path, self.contents.kind, i)
        return torch.from_numpy(values)

    def photons(self, i: int) -> Tensor | None:
        """Counts of the air scan of slice i, (), (bin,) or (view, bin) float32, or None.

        Raises:
            DataError: no such slice, or damage.
        """
        self._check_slice(i)
        photons = self._read(self.contents.reader.photons, i)
        return None if photons is None else torch.as_tensor(np.asarray(photons, np.float32))

    def line_integrals(self, i: int, floor: float = FLOOR) -> tuple[Tensor, Tensor | None]:
        """p of slice i and its variance, (view, bin) float32 each; see `invdiff.data.line_integrals`.

        The variance of stored line integrals is that of I0 exp(-p) counts, None where the file tells no I0.
        """
        values, photons = self.measured(i), self.photons(i)
        if self.contents.kind == "counts":
            assert photons is not None
            return line_integrals(values, photons, self.contents.electronic, floor)
        if photons is None:
            return values, None
        return values, line_integrals(photons * torch.exp(-values), photons, self.contents.electronic, floor)[1]

    def tells_noise(self) -> bool:
        """Whether `line_integrals` gives variances: the file holds counts, or the air scan of its line integrals."""
        return self.contents.kind == "counts" or self.photons(0) is not None

    def reference(self, i: int) -> Tensor | None:
        """The image that the file holds for slice i, (H, W) float32, or None; mm^-1 but for segmentations."""
        self._check_slice(i)
        values = self._read(self.contents.reader.reference, i)
        if values is None:
            return None
        refuse_nonfinite(values, self.path, "reference", i)
        return torch.from_numpy(values)

    def _read(self, read: Callable[[int], _T], i: int) -> _T:
        return guarded(self.path, read, i) if self.isolated else read(i)

    def _check_slice(self, i: int) -> None:
        if not 0 <= i < self.n_slices:
            raise DataError(f"slice {i} does not exist; there are {self.n_slices}, from 0.", path=self.path)


def open_projections(
    path: str | PathLike[str], format: str | None = None, *, isolated: bool = True, **options: Any
) -> ProjectionFile:
    """Check a file or folder of projections and return it for reading slice by slice.

    Args:
        path: see `PROJECTION_FORMATS`.
        format: a key of it; None tells by name and content.
        isolated: read in another process, so that a damaged file cannot kill this one.
        options: of the format, such as `sample`, `geometry`, `mirrored`; see its `open_...` function.

    Raises:
        DataError: it cannot be used; names file and data set, what was found and what to do.
        ValueError: there is no such format. TypeError: an option that the format does not have.
    """
    path = Path(path)
    if format is not None and format not in PROJECTION_FORMATS:
        raise ValueError(f"there is no format {format!r} of projections.{nearest(format, PROJECTION_FORMATS)}")
    arguments = (path, format, options)
    name, contents = (
        guarded(path, open_projection_contents, *arguments) if isolated else open_projection_contents(*arguments)
    )
    return ProjectionFile(path, name, contents, isolated)
