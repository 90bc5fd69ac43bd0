"""What opening a k-space file finds, in NumPy: facts, and a reader of single slices.

A format is a function that makes `Contents`; everything after that is the same for all formats, in
`invdiff.data.kspace`. Nothing here or in the readers loads torch, so that they start fast in a process of their own.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdiff.data.geometry import Geometry

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Reader:
    """Reads a slice when asked; holds no handle, so that it can be pickled. What a format lacks is None.

    Attributes:
        path: the file.
    """

    path: Path

    def kspace(self, i: int) -> NDArray[np.complex64]:
        """Slice i as it is stored, (coils, h, w)."""
        raise NotImplementedError(f"{type(self).__name__} must define kspace(i).")

    def reference(self, i: int) -> NDArray[np.float32] | None:
        """Magnitude of slice i, (h', w')."""
        return None

    def maps(self, i: int) -> NDArray[np.complex64] | None:
        """Coil maps of slice i, (coils, h, w)."""
        return None

    def body_coil(self, i: int) -> NDArray[np.complex64] | None:
        """The same slice received with the body coil, (channels, h, w)."""
        return None

    def noise(self) -> NDArray[np.complex64] | None:
        """Samples without signal, (coils, n)."""
        return None


@dataclass(frozen=True)
class Contents:
    """The facts of a file.

    Attributes:
        shape: (slices, coils, h, w).
        reader: of its slices.
        mask: sampled columns (w,) or points (h, w), where the file stores one.
        zeros_are_unsampled: no mask is stored, and what is zero in all coils was not sampled.
        attrs: attributes of the file.
        header: ISMRMRD XML.
        reference: the name of the stored reference and its (h', w').
        maps: the name of the stored coil maps.
        body_coil: the name of the k-space of the body coil.
        crop: (h', w') of the field of view to show.
        geometry: where the pixels lie.
        notes: what was done to the data on the way, one sentence each.
    """

    shape: Shape
    reader: Reader
    mask: NDArray[np.bool_] | None = None
    zeros_are_unsampled: bool = False
    attrs: dict[str, Any] = field(default_factory=dict)
    header: str | None = None
    reference: tuple[str, tuple[int, int]] | None = None
    maps: str | None = None
    body_coil: str | None = None
    crop: tuple[int, int] | None = None
    geometry: Geometry | None = None
    notes: tuple[str, ...] = ()
