"""data[row] = (head, traj, samples): the table of an ISMRMRD file, of which every row is one read-out of all coils.

A group holds `xml`, the header, and `data`, the table. The layout is read with h5py alone. Source: Inati et al., ISMRM
raw data format, Magnetic Resonance in Medicine 77:411, 2017, and its schema.
"""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError
from invdiff.data.hdf5 import check_budget, find, keys, opened, plain, required
from invdiff.data.header import Header, parse_header
from invdiff.data.ismrmrd_plan import FIELDS, NOISE, Rows, Table, flagged


def raw_group(file: h5py.File, path: Path) -> str | None:
    """The group at the root that holds raw data, None where there is none or more than one."""
    groups = [name for name in keys(file) if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    groups = [name for name in groups if isinstance(file[name], h5py.Group)]
    found = [name for name in groups if all(find(file, f"{name}/{part}", path) is not None for part in ("xml", "data"))]
    return found[0] if len(found) == 1 else None


def read_xml(file: h5py.File, group: str, path: Path) -> str:
    """The header of the scan, which can be parsed.

    Raises:
        DataError: it is missing, too long or damaged.
    """
    data = required(file, f"{group}/xml", path)
    check_budget(data, path, budget=2**24)
    text = str(plain(data[()]))
    try:
        parse_header(text)
    except ValueError as error:
        raise DataError(f"{error}; the scan cannot be sorted without it.", path=path, dataset=f"{group}/xml") from error
    return text


def read_table(path: Path, group: str) -> tuple[Header, Table]:
    """The header of the scan, and those of all acquisitions.

    Raises:
        DataError: no table of acquisitions.
    """
    with opened(path) as file:
        header = parse_header(read_xml(file, group, path))
        data = required(file, f"{group}/data", path)
        if data.dtype.names is None or "head" not in data.dtype.names or "data" not in data.dtype.names:
            raise DataError("is no table of acquisitions (head, traj, data).", path=path, dataset=data.name)
        missing = set(FIELDS) - set(data.dtype["head"].names or ())
        if missing or len(data.shape) != 1 or not len(data):
            raise DataError(f"is no table of acquisition headers; it lacks {sorted(missing) or 'rows'}.",
                            path=path, dataset=data.name)  # fmt: skip
        return header, data.fields("head")[:]


def read_lines(path: Path, group: str, heads: Table, rows: Rows) -> list[NDArray[np.complex64]]:
    """Samples (coils, n) of some acquisitions as they were received, those to be discarded left out."""
    found = []
    for row, values in zip(rows.tolist(), _stored(path, group, "data", rows), strict=True):
        head = heads[row]
        coils, n = int(head["active_channels"]), int(head["number_of_samples"])
        if len(values) != 2 * coils * n:
            raise DataError(
                f"acquisition {row} holds {len(values)} numbers, its header says {coils} coils x {n} complex samples.",
                path=path,
                dataset=f"{group}/data",
            )
        line = np.ascontiguousarray(values, np.float32).view(np.complex64).reshape(coils, n)
        found.append(line[:, _kept(head)])
    return found


def read_positions(path: Path, group: str, heads: Table, rows: Rows) -> list[NDArray[np.float64]]:
    """Trajectories (n, 2 or 3) of some acquisitions, of the samples that `read_lines` gives.

    Raises:
        DataError: acquisitions without a trajectory, or with another number of positions than of samples.
    """
    found = []
    for row, values in zip(rows.tolist(), _stored(path, group, "traj", rows), strict=True):
        n = int(heads[row]["number_of_samples"])
        if not len(values):
            raise DataError(
                f"acquisition {row} holds no trajectory. Compute where its samples lie, and write them to HDF5 as "
                "`kspace` (coils, read-outs, samples) and `trajectory` (read-outs, samples, 2).",
                path=path,
                dataset=f"{group}/data",
            )
        if len(values) not in (2 * n, 3 * n):
            raise DataError(f"acquisition {row} holds {len(values)} coordinates for {n} samples; 2 or 3 for each are "
                            "wanted.", path=path, dataset=f"{group}/data")  # fmt: skip
        found.append(np.asarray(values, np.float64).reshape(n, -1)[_kept(heads[row])])
    return found


def read_noise(path: Path, group: str, heads: Table, image: Rows) -> NDArray[np.complex64] | None:
    """Samples of all noise acquisitions, (coils, n), at the bandwidth of the images; None where there are none.

    The variance of white noise is proportional to the bandwidth, 1 / dwell time; a dwell time of 0 is not known.

    Args:
        image: rows of the images.
    """
    rows = np.flatnonzero(flagged(heads, NOISE))
    if not len(rows):
        return None
    told = "sample_time_us" in (heads.dtype.names or ())
    dwell = heads["sample_time_us"].astype(float) if told else np.zeros(len(heads))
    usual = float(np.median(dwell[image]))
    gains = [(dwell[row] / usual) ** 0.5 if dwell[row] > 0 and usual > 0 else 1.0 for row in rows]
    lines = zip(gains, read_lines(path, group, heads, rows), strict=True)
    return np.concatenate([np.complex64(gain) * line for gain, line in lines], axis=1)


def _stored(path: Path, group: str, field: str, rows: Rows) -> NDArray[np.object_]:
    with opened(path) as file:
        data = required(file, f"{group}/data", path)
        if field not in (data.dtype.names or ()):
            raise DataError(f"has no field '{field}'.", path=path, dataset=data.name)
        values: NDArray[np.object_] = data.fields(field)[rows]
        return values


def _kept(head: Table) -> slice:
    return slice(int(head["discard_pre"]), int(head["number_of_samples"]) - int(head["discard_post"]))
