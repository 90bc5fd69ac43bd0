"""ky = kspace_encode_step_1 - centre + n_y // 2: which acquisitions of an ISMRMRD table make which image.

Noise scans, navigators and the like are told by flags and left out, with a note.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invdiff.data.errors import DataError
from invdiff.data.header import Header

Table = NDArray[Any]
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
    frames: tuple[NDArray[np.intp], ...]
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
    if header.trajectory not in (None, "cartesian"):
        raise DataError(f"is a {header.trajectory} scan; only Cartesian ones are read.", path=path)
    if header.encoded is None or min(header.encoded) < 1:
        raise DataError("its header has no encoded matrix size, so k-space has no grid.", path=path, dataset="xml")
    image, notes = _images(heads)
    if not image.any():
        raise DataError(f"holds {len(heads)} acquisitions and none of an image.", path=path)
    counters = heads["idx"]
    names = np.stack([counters[name] for name in _FRAME], axis=1)[image]
    frames = [np.flatnonzero(image)[(names == frame).all(1)] for frame in np.unique(names, axis=0)]
    limits = header.limits, header.limits_2
    centres = [n // 2 if m is None else m[2] for n, m in zip(header.encoded[1:], limits, strict=True)]
    coils = np.unique(heads["active_channels"][image])
    if len(coils) != 1:
        raise DataError(f"has acquisitions of {', '.join(map(str, coils))} coils; one number is wanted.", path=path)
    grid = header.encoded
    for name, n, centre in zip(("kspace_encode_step_1", "kspace_encode_step_2"), grid[1:], centres, strict=True):
        place = counters[name][image].astype(int) - centre + n // 2
        if place.min() < 0 or place.max() >= n:
            raise DataError(
                f"{name} runs from {place.min()} to {place.max()} on a grid of {n}; header and data disagree.",
                path=path,
            )
    crop = _kept(header, heads[image])
    return Plan(heads, tuple(frames), grid, (centres[0], centres[1]), crop, int(coils[0]), notes)


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
