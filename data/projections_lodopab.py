"""observation_{part}_NNN.hdf5 of LoDoPaB-CT: low-dose parallel-beam projections of 128 chest slices a file.

Images are 362 x 362 over 0.26 m, 1000 views at (i + 1/2) pi / 1000, 513 bins over the image's diagonal. Counts were
drawn as Poisson(4096 exp(-A mu)), zeros replaced by 0.1, and -log(counts / 4096) divided by mu_max = 81.35858 m^-1,
the attenuation at 3071 HU for water of 20 m^-1 and air of 0.02 m^-1 (so for lengths in metres).

The data set stores images with x along the first axis and y, downwards, along the second. `reference` transposes them,
so that patients stand upright; with y up, as everywhere here, its angles then change their sign.

Source: Leuschner, Schmidt, Baguer and Maass, LoDoPaB-CT, a Benchmark Dataset for Low-Dose Computed Tomography
Reconstruction, Scientific Data 8:109, 2021, and the scripts published with it.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invdiff.data.beam import Beam
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET, check_budget, opened, required
from invdiff.data.projections_contents import ProjectionContents, ProjectionReader

VIEWS, BINS, SIDE = 1000, 513, 362
FIELD_OF_VIEW = 260.0  # mm
PHOTONS = 4096.0
LEAST_COUNT = 0.1
MU_WATER, MU_AIR = 0.02, 2e-5  # mm^-1
MU_MAX = 3071 * (MU_WATER - MU_AIR) / 1000 + MU_WATER  # mm^-1, 0.08135858
_METRE = 1000.0  # mm; the stored values are normalised for lengths in metres


def beam() -> Beam:
    """The geometry of every file."""
    angles = -(np.arange(VIEWS) + 0.5) * math.pi / VIEWS
    width = math.sqrt(2) * FIELD_OF_VIEW / BINS
    return Beam(angles, BINS, width, shape=(SIDE, SIDE), pixel=FIELD_OF_VIEW / SIDE)


@dataclass(frozen=True)
class LodopabReader(ProjectionReader):
    """Samples of an observation file, and of the ground-truth file beside it where there is one."""

    truth: Path | None

    def projections(self, i: int) -> NDArray[np.float32]:
        """Line integrals of sample i, (1000, 513)."""
        with opened(self.path) as file:
            return np.asarray(required(file, "data", self.path)[i] * (MU_MAX * _METRE), np.float32)

    def photons(self, i: int) -> float:
        return PHOTONS

    def reference(self, i: int) -> NDArray[np.float32] | None:
        """Attenuation of sample i, upright, (362, 362) mm^-1."""
        if self.truth is None:
            return None
        with opened(self.truth) as file:
            return np.asarray(required(file, "data", self.truth)[i] * MU_MAX, np.float32).T.copy()


def open_lodopab(path: Path, *, budget: int = BUDGET) -> ProjectionContents:
    """Check an observation file; ground_truth_{part}_NNN.hdf5 in the same folder is its reference.

    Raises:
        DataError: another shape or type, or images in place of projections.
    """
    samples = _checked(path, (VIEWS, BINS), budget)
    truth = path.with_name(path.name.replace("observation", "ground_truth"))
    has_truth = truth != path and truth.is_file()
    if has_truth and _checked(truth, (SIDE, SIDE), budget) != samples:
        raise DataError(f"does not hold {samples} samples, as the observations do; download it again.", path=truth)
    return ProjectionContents(
        (samples, VIEWS, BINS),
        "integrals",
        beam(),
        LodopabReader(path, truth if has_truth else None),
        mu_water=MU_WATER,
    )


def _checked(path: Path, shape: tuple[int, int], budget: int) -> int:
    """The number of samples."""
    with opened(path) as file:
        data = required(file, "data", path)
        found = tuple(data.shape or ())
        if len(found) != 3 or found[0] < 1 or found[1:] != shape or data.dtype.kind != "f":
            what = " These are the images; give the observations." if found[1:] == (SIDE, SIDE) else ""
            raise DataError(f"wanted (samples, {shape[0]}, {shape[1]}) numbers of LoDoPaB-CT, got {data.dtype} {found}."
                            f"{what}", path=path, dataset="data")  # fmt: skip
        check_budget(data, path, found[0], budget)
        return int(found[0])
