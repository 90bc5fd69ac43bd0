"""ky = kspace_encode_step_1 - centre + n_y // 2: which acquisitions of an ISMRMRD table make which image.

Noise scans, navigators and the like are told by flags and left out, with a note. Images and where their pixels lie are
told alike for all trajectories.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError
from invdiff.data.geometry import Geometry, Vector
from invdiff.data.header import Header

Table = NDArray[Any]
Rows = NDArray[np.intp]
NOISE, _CALIBRATION, _CALIBRATION_AND_IMAGE, REVERSE = 19, 20, 21, 22
_NO_IMAGE = (NOISE, 23, 24, 26, 27, 28, 29, 30)  # navigation, phase correction, feedback, dummy, coil correction, ...
_FRAME = ("repetition", "set", "phase", "contrast", "slice")  # the last is the fastest
FIELDS = ("flags", "number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample", "idx")


@dataclass(frozen=True)
class Plan:
    """Which acquisitions make which image, and the grid they lie on.

    Attributes:
        heads: all acquisition headers.
        frames: for every image (or volume), the rows of the table, sorted.
        grid: (kx, ky, kz), the encoded matrix.
        centres: of ky and kz in counters.
        crop: samples of the read-out that are kept, of `grid[0]`; the rest is oversampling.
        coils: their number.
        notes: what was left out.
    """

    heads: Table
    frames: tuple[Rows, ...]
    grid: tuple[int, int, int]
    centres: tuple[int, int]
    crop: int
    coils: int
    notes: tuple[str, ...]


def sorted_plan(path: Path, header: Header, heads: Table) -> Plan:
    """Sort the acquisitions of a Cartesian scan.

    Raises:
        DataError: another trajectory, no grid, no image, or counters beyond the grid.
    """
    if not header.cartesian:
        raise DataError(
            f"is a {header.trajectory} scan and no Cartesian one. `invdiff reconstruct` takes it by its trajectory; in "
            "Python, open it with invdiff.data.readout_formats.open_readout_file.",
            path=path,
        )
    if header.encoded is None or min(header.encoded) < 1:
        raise DataError("its header has no encoded matrix size, so k-space has no grid.", path=path, dataset="xml")
    frames, coils, notes = sorted_frames(path, heads)
    image, counters = np.concatenate(frames), heads["idx"]
    limits = header.limits, header.limits_2
    centres = [n // 2 if m is None else m[2] for n, m in zip(header.encoded[1:], limits, strict=True)]
    grid = header.encoded
    for name, n, centre in zip(("kspace_encode_step_1", "kspace_encode_step_2"), grid[1:], centres, strict=True):
        place = counters[name][image].astype(int) - centre + n // 2
        if place.min() < 0 or place.max() >= n:
            raise DataError(
                f"{name} runs from {place.min()} to {place.max()} on a grid of {n}; header and data disagree.",
                path=path,
            )
    crop = _kept(header, heads[image])
    return Plan(heads, frames, grid, (centres[0], centres[1]), crop, coils, notes)


def sorted_frames(path: Path, heads: Table) -> tuple[tuple[Rows, ...], int, tuple[str, ...]]:
    """Rows of the acquisitions of every image, the number of coils, and what was left out.

    Every combination of repetition, set, cardiac phase, contrast and slice is an image.

    Raises:
        DataError: no image, or acquisitions that differ in their coils.
    """
    image, notes = _images(heads)
    if not image.any():
        raise DataError(f"holds {len(heads)} acquisitions and none of an image.", path=path)
    names = np.stack([heads["idx"][name] for name in _FRAME], axis=1)[image]
    frames = tuple(np.flatnonzero(image)[(names == frame).all(1)] for frame in np.unique(names, axis=0))
    coils = np.unique(heads["active_channels"][image])
    if len(coils) != 1:
        raise DataError(f"has acquisitions of {', '.join(map(str, coils))} coils; one number is wanted.", path=path)
    return frames, int(coils[0]), notes


def _images(heads: Table) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Which acquisitions belong to images, and what is said of the others."""
    excluded = np.zeros(len(heads), np.bool_)
    for bit in _NO_IMAGE:
        excluded |= flagged(heads, bit)
    calibration = flagged(heads, _CALIBRATION) & ~flagged(heads, _CALIBRATION_AND_IMAGE)
    other = (
        heads["encoding_space_ref"] != 0
        if "encoding_space_ref" in (heads.dtype.names or ())
        else np.zeros_like(excluded)
    )
    counts = {
        "noise acquisitions left out": int(flagged(heads, NOISE).sum()),
        "navigator, correction or dummy acquisitions left out": int((excluded & ~flagged(heads, NOISE)).sum()),
        "separate calibration lines left out": int((calibration & ~excluded).sum()),
        "acquisitions of a second encoding left out": int((other & ~excluded & ~calibration).sum()),
    }
    return ~(excluded | calibration | other), tuple(f"{n} {what}" for what, n in counts.items() if n)


def flagged(heads: Table, bit: int) -> NDArray[np.bool_]:
    """Whether flag `bit`, counted from 1, is set."""
    return np.asarray(heads["flags"] & np.uint64(1 << (bit - 1)) != 0)


def _kept(header: Header, heads: Table) -> int:
    """Samples of the read-out inside the reconstructed field of view; all where an echo is partial."""
    assert header.encoded is not None
    n, views = header.encoded[0], (header.encoded_field_of_view, header.field_of_view)
    whole = heads["number_of_samples"] - heads["discard_pre"] - heads["discard_post"] == n
    if views[0] is None or views[1] is None or not whole.all() or not 0 < views[1][0] < views[0][0]:
        return n
    return max(1, min(n, round(n * views[1][0] / views[0][0])))


def located(header: Header, heads: Table, frames: Sequence[Rows]) -> Geometry | None:
    """Where pixels lie, from the first read-out of the first and of the next slice; None without a field of view."""
    spacing = header.spacing
    names = heads.dtype.names or ()
    if spacing is None or not {"position", "read_dir", "phase_dir", "slice_dir"} <= set(names):
        return None if spacing is None else Geometry(spacing)
    first = [heads[rows[0]] for rows in frames]
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
