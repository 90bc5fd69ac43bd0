"""source[i] = slice i, (H, W): images for training and fitting, read one at a time from where they lie.

A format makes a list of places and one function that reads a place; everything else is the same for all formats.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from invdiff.checks import nearest
from invdiff.data.errors import DataError
from invdiff.data.finite import refuse_nonfinite

Kind = Literal["magnitude", "complex"]
Pixels = NDArray[Any]
_UNREAD, _VARIES, _CONSTANT = range(3)


@dataclass(frozen=True)
class Place:
    """Where one slice lies, known without reading its pixels.

    Attributes:
        path: the file.
        shape: (H, W).
        subject: whom it shows; "" where nothing tells.
        part: "train", "val", ... or "".
        name: of the array inside the file.
        index: of the slice inside that array; None where the array is the slice.
        spacing: distance between rows and between columns, mm, or None.
    """

    path: Path
    shape: tuple[int, int]
    subject: str = ""
    part: str = ""
    name: str | None = None
    index: int | None = None
    spacing: tuple[float, float] | None = None


class ImageSource:
    """Slices of any sizes, read when asked for; may be pickled, and used in worker processes.

    Args:
        path: what was opened.
        places: one for each slice.
        read: the stored pixels of a place.
        kind: "magnitude" for real images (also those in Hounsfield units), "complex".
        modality: "MR", "CT" or "".
        unit: "HU" or "" (arbitrary).
        left_out: what lay beside the slices and is none, for `describe`.
    """

    def __init__(
        self,
        path: Path,
        places: Sequence[Place],
        read: Callable[[Place], Pixels],
        kind: Kind,
        modality: str = "",
        unit: str = "",
        left_out: str = "",
    ) -> None:
        if not places:
            raise DataError("holds no slices; check the folder, or the part asked for.", path=path)
        self.path, self.places, self.kind = path, tuple(places), kind
        self.modality, self.unit, self.left_out = modality, unit, left_out
        self._read = read
        self._state = np.full(len(places), _UNREAD, np.uint8)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> Pixels:
        """Slice i, (H, W) float32 or complex64, finite.

        Raises:
            IndexError: no such slice.
            DataError: damage, NaN or infinity; names file and slice.
        """
        place = self.places[i]
        values = self._read(place)
        if values.shape != place.shape:
            raise DataError(f"is {values.shape} now, {place.shape} when it was opened; open it again.",
                            path=place.path, dataset=place.name, slice=place.index)  # fmt: skip
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and that is refused
            pixels = np.ascontiguousarray(values, np.complex64 if self.kind == "complex" else np.float32)
        refuse_nonfinite(pixels, place.path, place.name, place.index)
        self._state[i] = _CONSTANT if bool((pixels == pixels[0, 0]).all()) else _VARIES
        return pixels

    def __iter__(self) -> Iterator[Pixels]:
        return (self[i] for i in range(len(self)))

    @property
    def subjects(self) -> list[str]:
        """One for each slice; "" where nothing tells."""
        return [place.subject for place in self.places]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(H, W) of each slice."""
        return [place.shape for place in self.places]

    @property
    def spacings(self) -> list[tuple[float, float] | None]:
        """(row, column) distance in mm of each slice, or None."""
        return [place.spacing for place in self.places]

    @property
    def parts(self) -> list[str]:
        """Names of the parts, in order; empty where there are none."""
        return sorted({place.part for place in self.places} - {""})

    def part(self, name: str) -> "ImageSource":
        """The slices of one part.

        Raises:
            DataError: no such part; the message lists those there are.
        """
        if name not in self.parts:
            known = nearest(name, self.parts) if self.parts else " It has no parts; leave the part out."
            raise DataError(f"has no part {name!r}.{known}", path=self.path)
        return self.take([i for i, place in enumerate(self.places) if place.part == name])

    def take(self, index: Sequence[int]) -> "ImageSource":
        """The slices `index`, as a source of their own."""
        chosen = ImageSource(
            self.path,
            [self.places[i] for i in index],
            self._read,
            self.kind,
            self.modality,
            self.unit,
            self.left_out,
        )
        chosen._state = self._state[list(index)].copy()
        return chosen

    def constant(self) -> list[int]:
        """Slices without content (one value everywhere). Reads every slice not read so far, with a progress bar."""
        for i in tqdm(np.flatnonzero(self._state == _UNREAD).tolist(), unit="slice", disable=None, leave=False):
            self[i]
        return [int(i) for i in np.flatnonzero(self._state == _CONSTANT)]

    def describe(self) -> str:
        """One sentence; constant slices are counted among those read so far, so call `constant` first to know all."""
        shapes = sorted(set(self.shapes))
        size = f"{shapes[0][0]} x {shapes[0][1]}"
        if len(shapes) > 1:
            size += f" to {shapes[-1][0]} x {shapes[-1][1]} ({len(shapes)} sizes)"
        names = set(self.subjects) - {""}
        whom = f"{len(names)} subject{'s' * (len(names) != 1)}" if names else "unknown subjects"
        parts = f", parts {', '.join(self.parts)}" if len(self.parts) > 1 else ""
        read, empty = int((self._state != _UNREAD).sum()), int((self._state == _CONSTANT).sum())
        what = " ".join(word for word in (self.kind, self.modality) if word)
        left_out = f"; {self.left_out}" if self.left_out else ""
        return (
            f"{self.path.name}: {len(self)} {what} slices of {whom}, {size}{parts}; "
            f"{empty} constant among {read} read{left_out}."
        )
