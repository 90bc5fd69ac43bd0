"""k_j = n_i f / l_i traj_j: scans along trajectories in ISMRMRD's HDF5 layout, one image at a time.

Every acquisition stores its own positions. Writers put them in one of two units, which their range over the whole file
tells apart, as a trajectory in cycles that ends within half a cycle would resolve one pixel:

    |traj| <= 1/2 + 1 / n     fractions of the encoded matrix n,   k = traj n f / l
    beyond                    cycles per field of view,             k = traj

l being the encoded and f the reconstructed field of view (read-out oversampling makes l larger than f). Axis 0 of k,
along image rows, is the read direction and axis 1 the phase direction, as in Cartesian scans of this layout. A third
coordinate of two-dimensional scans that is never negative is a density weight and left out.

Differs: samples of read-outs marked as reversed stay in their order, since their positions do too. Averages stay
read-outs of their own: the solution averages them.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET, check_budget, opened, required
from invdiff.data.header import Header, parse_header
from invdiff.data.ismrmrd_plan import NOISE, Rows, Table, flagged, located, sorted_frames
from invdiff.data.ismrmrd_table import raw_group, read_lines, read_noise, read_positions, read_table, read_xml
from invdiff.data.readouts import ReadoutFile, finite

ENDINGS = (".h5", ".hdf5", ".mrd")


@dataclass(frozen=True)
class ReadoutPlan:
    """Which acquisitions make which image.

    Attributes:
        heads: all acquisition headers. frames: rows of every image.
        scale: what positions along rows and columns are multiplied by to be cycles per field of view.
        notes: what was left out.
    """

    heads: Table
    frames: tuple[Rows, ...]
    scale: tuple[float, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class IsmrmrdReadouts(ReadoutFile):
    """Reads the acquisitions of one image.

    Attributes:
        group: the one that holds `xml` and `data`.
        budget: bytes that the headers, that all positions, and that one image may take.
    """

    group: str = "dataset"
    budget: int = BUDGET

    def samples(self, i: int) -> NDArray[np.complex64]:
        plan = self._plan()
        lines = read_lines(self.path, self.group, plan.heads, plan.frames[i])
        return finite(np.stack(lines, axis=1), self.path, "data")

    def trajectory(self, i: int) -> NDArray[np.float64]:
        plan = self._plan()
        positions = read_positions(self.path, self.group, plan.heads, plan.frames[i])
        return finite(np.stack(positions)[..., :2] * plan.scale, self.path, "traj")

    def extra(self, name: str, i: int) -> NDArray[Any] | None:
        if name not in self.beside:
            return None
        plan = self._plan()
        noise = read_noise(self.path, self.group, plan.heads, np.concatenate(plan.frames))
        return None if noise is None else finite(noise, self.path, "noise")

    def _plan(self) -> ReadoutPlan:
        return _planned(self.path, self.group, self.path.stat().st_mtime_ns, self.budget)


def is_ismrmrd_readouts(path: Path) -> bool:
    """Whether a file is an ISMRMRD scan along another trajectory than Cartesian."""
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return False
    with opened(path) as file:
        group = raw_group(file, path)
        return group is not None and not parse_header(read_xml(file, group, path)).cartesian


def open_ismrmrd_readouts(path: Path, *, group: str | None = None, budget: int = BUDGET) -> IsmrmrdReadouts:
    """Check an ISMRMRD file and sort its acquisitions.

    Every combination of repetition, set, cardiac phase, contrast and slice is an image.

    Args:
        path: the file.
        group: the one that holds `xml` and `data`; found where there is only one.
        budget: bytes that the headers, that all positions, and that one image may take.

    Raises:
        DataError: no acquisitions, a Cartesian scan, three axes in space, read-outs that differ in length, images that
            differ in their number of read-outs, positions that are missing or in units that cannot be told.
    """
    with opened(path) as file:
        group = group or raw_group(file, path) or "dataset"
        xml = read_xml(file, group, path)
        check_budget(required(file, f"{group}/data", path), path, budget=budget)
    header = parse_header(xml)
    plan = _planned(path, group, path.stat().st_mtime_ns, budget)
    first = plan.heads[plan.frames[0]]
    shape = (len(plan.frames), int(first["active_channels"][0]), len(first), int(_lengths(first)[0]))
    beside = ("noise",) if flagged(plan.heads, NOISE).any() else ()
    geometry = located(header, plan.heads, plan.frames)
    name, size = "ismrmrd-trajectory", _size(header)
    return IsmrmrdReadouts(path, shape, size, beside, name, plan.notes, geometry, xml, group, budget)


@lru_cache(maxsize=4)
def _planned(path: Path, group: str, changed: int, budget: int) -> ReadoutPlan:
    header, heads = read_table(path, group)
    _check_header(path, header)
    frames, coils, notes = sorted_frames(path, heads)
    _check_alike(path, heads, frames)
    samples = heads["number_of_samples"].astype(np.int64)
    needed = max(8 * 3 * int(samples.sum()), 8 * coils * int(samples[frames[0]].sum()))
    if needed > budget:
        raise DataError(f"needs {needed} bytes for one image or all positions, over the budget of {budget}; if the "
                        "file is sound, raise `budget`.", path=path)  # fmt: skip
    positions = read_positions(path, group, heads, np.sort(np.concatenate(frames)))
    if len({p.shape[1] for p in positions}) > 1:
        raise DataError("has acquisitions with two and with three coordinates; one number is wanted.", path=path)
    k = finite(np.concatenate(positions), path, "traj")
    return ReadoutPlan(heads, frames, _scale(path, header, k), (*notes, *_third(path, k[:, 2:])))


def _check_header(path: Path, header: Header) -> None:
    if header.cartesian:
        raise DataError("is a Cartesian scan, which has no trajectory: read it as format 'ismrmrd'.", path=path)
    if header.encoded is None or min(header.encoded) < 1:
        raise DataError("its header has no encoded matrix size, so its trajectory has no scale.", path=path)
    if header.encoded[2] > 1:
        raise DataError(f"encodes three axes in space, {header.encoded}; these are reconstructed in Python: see "
                        "NonCartesianMRI.", path=path)  # fmt: skip


def _check_alike(path: Path, heads: Table, frames: tuple[Rows, ...]) -> None:
    for what, found in (
        ("read-outs of {} samples", np.unique(_lengths(heads[np.concatenate(frames)]))),
        ("images of {} read-outs", np.unique([len(rows) for rows in frames])),
    ):
        if len(found) > 1 or found[0] < 1:
            several = what.format(", ".join(map(str, found)))
            raise DataError(f"has {several}; one number is wanted. Write acquisitions that are alike to files of their "
                            "own.", path=path)  # fmt: skip


def _lengths(heads: Table) -> NDArray[np.int64]:
    """Samples that are not discarded."""
    kept = heads["number_of_samples"].astype(np.int64) - heads["discard_pre"] - heads["discard_post"]
    return np.asarray(kept, np.int64)


def _scale(path: Path, header: Header, k: NDArray[np.float64]) -> tuple[float, float]:
    """What positions are multiplied by to be cycles per reconstructed field of view."""
    n, ratio = _matrix(header), _ratio(header)
    reach = np.abs(k[:, :2]).max(0)
    if not reach.any():
        raise DataError("its trajectory is zero everywhere; compute where the samples lie.", path=path, dataset="traj")
    if (reach <= 0.5 + 1 / np.array(n)).all():
        return n[0] * ratio[0], n[1] * ratio[1]
    if ratio != (1.0, 1.0):
        raise DataError(
            f"its trajectory reaches {reach.max():.4g}, so it is in cycles per field of view, and there are two of "
            f"these, encoded {header.encoded_field_of_view} and reconstructed {header.field_of_view} mm. Store it as "
            "fractions of the encoded matrix, -0.5 to 0.5.",
            path=path,
            dataset="traj",
        )
    return 1.0, 1.0


def _third(path: Path, rest: NDArray[np.float64]) -> tuple[str, ...]:
    if (rest < 0).any():
        raise DataError("has positions along three axes, and its header encodes two; set the encoded matrix size, or "
                        "leave the third coordinate out.", path=path, dataset="traj")  # fmt: skip
    return ("third coordinate of the trajectory taken for density weights and left out",) if rest.any() else ()


def _size(header: Header) -> tuple[int, int]:
    """Pixels of the encoded size inside the reconstructed field of view."""
    rows, columns = (max(1, round(n * r)) for n, r in zip(_matrix(header), _ratio(header), strict=True))
    return rows, columns


def _matrix(header: Header) -> tuple[int, int]:
    assert header.encoded is not None
    return header.encoded[:2]


def _ratio(header: Header) -> tuple[float, float]:
    """Reconstructed over encoded field of view, 1 where the header lacks one of them."""
    seen, whole = header.field_of_view, header.encoded_field_of_view
    if seen is None or whole is None or min(*seen[:2], *whole[:2]) <= 0:
        return 1.0, 1.0
    return seen[0] / whole[0], seen[1] / whole[1]
