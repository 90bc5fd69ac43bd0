"""k[ky - centre + n_y // 2] = acquisition: Cartesian scans in ISMRMRD's HDF5 layout, one slice at a time.

A group holds `xml`, the header, and `data`, a table of acquisitions (head, traj, data), each one read-out of all coils.
Read-outs of an image are sorted by their counters (`invdiff.data.ismrmrd_plan`).
The layout is read with h5py alone. Source: Inati et al., ISMRM raw data format, Magnetic Resonance in Medicine 77:411,
2017, and its schema.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invdiff.data.contents import Contents, Reader
from invdiff.data.errors import DataError
from invdiff.data.geometry import Geometry, Vector
from invdiff.data.hdf5 import BUDGET, check_budget, find, keys, opened, plain, required
from invdiff.data.header import Header, parse_header
from invdiff.data.ismrmrd_plan import FIELDS, NOISE, REVERSE, Plan, Table, flagged, sorted_plan
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
        """Samples of all noise acquisitions, (coils, n)."""
        plan = self._plan()
        rows = np.flatnonzero(flagged(plan.heads, NOISE))
        if not len(rows):
            return None
        return np.concatenate([line for _, line in _lines(self.path, self.group, plan, rows)], axis=1)

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
        xml = _xml(file, group, path)
        check_budget(required(file, f"{group}/data", path), path, budget=budget)
    plan = _planned(path, group, path.stat().st_mtime_ns)
    needed = 8 * plan.coils * int(np.prod(plan.grid, dtype=object))
    if needed > budget:
        raise DataError(f"needs {needed} bytes for one image, over the budget of {budget}; if the file is sound, raise "
                        "`budget`.", path=path)  # fmt: skip
    kx, ky, kz = (plan.crop, *plan.grid[1:])
    size = (len(plan.frames) * kx, plan.coils, ky, kz) if kz > 1 else (len(plan.frames), plan.coils, kx, ky)
    header = parse_header(xml)
    geometry, crop = (None, None) if kz > 1 else (_geometry(plan, header), _crop(plan, header))
    notes = plan.notes
    if kz > 1:
        notes += ("3-D scan: slices are positions along the read-out",)
    if kx < plan.grid[0]:
        notes += (f"read-out oversampling removed, {plan.grid[0]} to {kx} samples",)
    return Contents(size, IsmrmrdReader(path, group), None, True, {}, xml, crop=crop, geometry=geometry, notes=notes)


def raw_group(file: h5py.File, path: Path) -> str | None:
    """The group at the root that holds raw data, None where there is none or more than one."""
    groups = [name for name in keys(file) if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    groups = [name for name in groups if isinstance(file[name], h5py.Group)]
    found = [name for name in groups if all(find(file, f"{name}/{part}", path) is not None for part in ("xml", "data"))]
    return found[0] if len(found) == 1 else None


def _xml(file: h5py.File, group: str, path: Path) -> str:
    data = required(file, f"{group}/xml", path)
    check_budget(data, path, budget=2**24)
    text = str(plain(data[()]))
    try:
        parse_header(text)
    except ValueError as error:
        raise DataError(f"{error}; the scan cannot be sorted without it.", path=path, dataset=f"{group}/xml") from error
    return text


@lru_cache(maxsize=4)
def _planned(path: Path, group: str, changed: int) -> Plan:
    with opened(path) as file:
        header = parse_header(_xml(file, group, path))
        data = required(file, f"{group}/data", path)
        if data.dtype.names is None or "head" not in data.dtype.names or "data" not in data.dtype.names:
            raise DataError("is no table of acquisitions (head, traj, data).", path=path, dataset=data.name)
        missing = set(FIELDS) - set(data.dtype["head"].names or ())
        if missing or len(data.shape) != 1 or not len(data):
            raise DataError(f"is no table of acquisition headers; it lacks {sorted(missing) or 'rows'}.",
                            path=path, dataset=data.name)  # fmt: skip
        heads = data.fields("head")[:]
    return sorted_plan(path, header, heads)


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


def _lines(path: Path, group: str, plan: Plan, rows: NDArray[np.intp]) -> list[tuple[int, NDArray[np.complex64]]]:
    """(row, samples (coils, n)) of some acquisitions, discarded samples left out, reversed ones turned."""
    with opened(path) as file:
        stored = required(file, f"{group}/data", path).fields("data")[rows]
    found = []
    for row, values in zip(rows.tolist(), stored, strict=True):
        head = plan.heads[row]
        coils, n = int(head["active_channels"]), int(head["number_of_samples"])
        if len(values) != 2 * coils * n:
            raise DataError(
                f"acquisition {row} holds {len(values)} numbers, its header says {coils} coils x {n} complex samples.",
                path=path,
                dataset=f"{group}/data",
            )
        line = np.ascontiguousarray(values, np.float32).view(np.complex64).reshape(coils, n)
        line = line[:, int(head["discard_pre"]) : n - int(head["discard_post"])]
        found.append((row, line[:, ::-1] if flagged(head, REVERSE) else line))
    return found


def _crop(plan: Plan, header: Header) -> tuple[int, int] | None:
    """Pixels of k-space's own size inside the reconstructed field of view."""
    if header.encoded_field_of_view is None or header.field_of_view is None or min(header.encoded_field_of_view) <= 0:
        return None
    ratio = header.field_of_view[1] / header.encoded_field_of_view[1]
    return plan.crop, max(1, min(plan.grid[1], round(plan.grid[1] * ratio)))


def _geometry(plan: Plan, header: Header) -> Geometry | None:
    """From the first read-out of the first and of the next slice."""
    spacing = header.spacing
    names = plan.heads.dtype.names or ()
    if spacing is None or not {"position", "read_dir", "phase_dir", "slice_dir"} <= set(names):
        return None if spacing is None else Geometry(spacing)
    first = [plan.heads[rows[0]] for rows in plan.frames]
    slices = [head for head in first if int(head["idx"]["slice"]) != int(first[0]["idx"]["slice"])]
    centre, directions = (
        _vector(first[0]["position"]),
        [_vector(first[0][f"{d}_dir"]) for d in ("read", "phase", "slice")],
    )
    thickness = spacing[2]
    if slices:
        step = np.subtract(slices[0]["position"], first[0]["position"], dtype=float)
        thickness = float(np.linalg.norm(step)) or thickness
        if float(step @ np.array(directions[2])) < 0:
            directions[2] = _vector(-np.array(directions[2]))
    try:
        return Geometry((*spacing[:2], thickness), (directions[0], directions[1], directions[2]), centre)
    except ValueError:  # some converters leave directions at zero
        return Geometry(spacing)


def _vector(values: Any) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z
