"""k[ky - centre + n_y // 2] = acquisition: Cartesian scans in ISMRMRD's HDF5 layout, one slice at a time.

The table of acquisitions is read by `invdiff.data.ismrmrd_table`, and read-outs of an image are sorted by their
counters (`invdiff.data.ismrmrd_plan`). Scans along other trajectories: `invdiff.data.readouts_ismrmrd`.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invdiff.data.contents import Contents, Reader
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET, check_budget, opened, required
from invdiff.data.header import Header, parse_header
from invdiff.data.ismrmrd_plan import REVERSE, Plan, Rows, Table, flagged, located, sorted_plan
from invdiff.data.ismrmrd_table import raw_group, read_lines, read_noise, read_table, read_xml
from invdiff.data.volume import hybrid_slice, readout_to_space, space_to_readout


@dataclass(frozen=True)
class IsmrmrdReader(Reader):
    """Reads the acquisitions of one image; of a 3-D scan, those of the volume, which is kept."""

    group: str

    def kspace(self, i: int) -> NDArray[np.complex64]:
        """Image i, (coils, kx, ky), or position i along the read-out of a 3-D scan, (coils, ky, kz)."""
        plan = self._plan()
        if plan.grid[2] == 1:
            return np.ascontiguousarray(_volume(self.path, self.group, i)[..., 0])
        frame, x = divmod(i, plan.crop)
        return hybrid_slice(_volume, (self.path, self.group, frame), x)

    def noise(self) -> NDArray[np.complex64] | None:
        """Samples of all noise acquisitions, (coils, n), at the bandwidth of the images."""
        plan = self._plan()
        return read_noise(self.path, self.group, plan.heads, np.concatenate(plan.frames))

    def _plan(self) -> Plan:
        return _planned(self.path, self.group, self.path.stat().st_mtime_ns)


def open_ismrmrd(path: Path, *, group: str | None = None, budget: int = BUDGET) -> Contents:
    """Check an ISMRMRD file and sort its acquisitions.

    Every combination of repetition, set, cardiac phase, contrast and slice is an image; averages are averaged. Read-out
    oversampling is cut away in image space where the read-out is complete, and kept where the echo is partial. A 3-D
    scan is transformed along its read-out, each position of which becomes a slice.

    Args:
        path: the file.
        group: the one that holds `xml` and `data`; found where there is only one.
        budget: bytes that the headers, and that one image or volume, may take.

    Raises:
        DataError: no acquisitions, another trajectory than Cartesian, counters beyond the encoding limits.
    """
    with opened(path) as file:
        group = group or raw_group(file, path) or "dataset"
        xml = read_xml(file, group, path)
        check_budget(required(file, f"{group}/data", path), path, budget=budget)
    plan = _planned(path, group, path.stat().st_mtime_ns)
    needed = 8 * plan.coils * int(np.prod(plan.grid, dtype=object))
    if needed > budget:
        raise DataError(f"needs {needed} bytes for one image, over the budget of {budget}; if the file is sound, raise "
                        "`budget`.", path=path)  # fmt: skip
    kx, ky, kz = (plan.crop, *plan.grid[1:])
    size = (len(plan.frames) * kx, plan.coils, ky, kz) if kz > 1 else (len(plan.frames), plan.coils, kx, ky)
    header = parse_header(xml)
    geometry, crop = (None, None) if kz > 1 else (located(header, plan.heads, plan.frames), _crop(plan, header))
    notes = plan.notes
    if kz > 1:
        notes += ("3-D scan: slices are positions along the read-out",)
    if kx < plan.grid[0]:
        notes += (f"read-out oversampling removed, {plan.grid[0]} to {kx} samples",)
    return Contents(size, IsmrmrdReader(path, group), None, True, {}, xml, crop=crop, geometry=geometry, notes=notes)


@lru_cache(maxsize=4)
def _planned(path: Path, group: str, changed: int) -> Plan:
    return sorted_plan(path, *read_table(path, group))


def _volume(path: Path, group: str, frame: int) -> NDArray[np.complex64]:
    """(coils, kx, ky, kz) of one frame, averages averaged, oversampling removed."""
    plan = _planned(path, group, path.stat().st_mtime_ns)
    total = np.zeros((plan.coils, *plan.grid), np.complex64)
    count = np.zeros(plan.grid, np.int32)
    for row, line in _lines(path, group, plan, plan.frames[frame]):
        head = plan.heads[row]
        ky, kz = (
            int(head["idx"][name]) - centre + n // 2
            for name, centre, n in zip(
                ("kspace_encode_step_1", "kspace_encode_step_2"), plan.centres, plan.grid[1:], strict=True
            )
        )
        place = _along_readout(path, head, line.shape[1], plan.grid[0])
        total[:, place, ky, kz] += line
        count[place, ky, kz] += 1
    total /= np.maximum(count, 1)
    if plan.crop == plan.grid[0]:
        return total
    start = plan.grid[0] // 2 - plan.crop // 2
    inside = readout_to_space(total, 1)[:, start : start + plan.crop]
    return space_to_readout(inside, 1)


def _along_readout(path: Path, head: Table, samples: int, n: int) -> slice:
    """Where a read-out lies on the grid: its centre sample at n // 2, or whole if it fills the grid."""
    start = 0 if samples == n else n // 2 - (int(head["center_sample"]) - int(head["discard_pre"]))
    if start < 0 or start + samples > n:
        where = f"{samples} samples with centre {int(head['center_sample'])}"
        raise DataError(f"a read-out of {where} does not fit a grid of {n}.", path=path)
    return slice(start, start + samples)


def _lines(path: Path, group: str, plan: Plan, rows: Rows) -> list[tuple[int, NDArray[np.complex64]]]:
    """(row, samples (coils, n)) of some acquisitions, reversed ones turned."""
    lines = zip(rows.tolist(), read_lines(path, group, plan.heads, rows), strict=True)
    return [(row, line[:, ::-1] if flagged(plan.heads[row], REVERSE) else line) for row, line in lines]


def _crop(plan: Plan, header: Header) -> tuple[int, int] | None:
    """Pixels of k-space's own size inside the reconstructed field of view."""
    if header.encoded_field_of_view is None or header.field_of_view is None or min(header.encoded_field_of_view) <= 0:
        return None
    ratio = header.field_of_view[1] / header.encoded_field_of_view[1]
    return plan.crop, max(1, min(plan.grid[1], round(plan.grid[1] * ratio)))
