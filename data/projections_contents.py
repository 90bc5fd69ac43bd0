"""What opening a file of projections finds, in NumPy: facts, and a reader of single slices.

A format is a function that makes `ProjectionContents`; everything after that is the same for all formats, in
`invdiff.data.projections`. Nothing here or in the readers loads torch.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from invdiff.data.beam import Beam

Kind = Literal["counts", "integrals"]
Photons = float | NDArray[np.float64]


@dataclass(frozen=True)
class ProjectionReader:
    """Reads a slice when asked; holds no open handle, so that it can be pickled.

    Attributes:
        path: the file or folder.
    """

    path: Path

    def projections(self, i: int) -> NDArray[np.float32]:
        """Slice i, (view, bin): counts without dark signal, or line integrals."""
        raise NotImplementedError(f"{type(self).__name__} must define projections(i).")

    def photons(self, i: int) -> Photons | None:
        """Counts of the air scan without dark signal, a number, (bin,) or (view, bin).

        Of line integrals, those that they were measured with, where the file tells.
        """
        return None

    def reference(self, i: int) -> NDArray[np.float32] | None:
        """An image of slice i, (H, W) mm^-1, or None."""
        return None


@dataclass(frozen=True)
class ProjectionContents:
    """The facts of a file.

    Attributes:
        shape: (slices, views, bins).
        kind: "counts" or "integrals" (line integrals, dimensionless).
        beam: where the rays ran.
        reader: of its slices.
        electronic: standard deviation of the electronic noise, counts.
        table: position along the axis of each view, mm, where it moves (a helical scan); None where it rests.
        spacing: distance of slices, mm, or None.
        mu_water: of the scanner's own calibration, mm^-1, or None.
        attenuation: whether references are attenuations in mm^-1, and not segmentations.
        attrs: attributes of the file.
        notes: what was done to the data on the way, one sentence each.
    """

    shape: tuple[int, int, int]
    kind: Kind
    beam: Beam
    reader: ProjectionReader
    electronic: float = 0.0
    table: NDArray[np.float64] | None = None
    spacing: float | None = None
    mu_water: float | None = None
    attenuation: bool = True
    attrs: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
