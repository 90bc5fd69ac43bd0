"""x[i0, i1, ...] at i0 + d0 (i1 + d1 (...)): BART's .cfl (complex float32, first axis fastest) and its text .hdr.

Axes by number: 0 read-out, 1 and 2 phase encodings, 3 coils, 4 sets of maps, 5 echoes, 10 frames, 13 slices. Source:
Uecker et al., Proc. ISMRM 23:2486, 2015, and the documentation of BART.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from invdiff.data.contents import Contents, Reader
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET
from invdiff.data.volume import hybrid_slice

COILS, MAPS, SLICES = 3, 4, 13
_RANK = 16


@dataclass(frozen=True)
class BartReader(Reader):
    """Reads from the .cfl file as it lies on disk."""

    dims: tuple[int, ...]
    maps_dims: tuple[int, ...] | None

    def kspace(self, i: int) -> NDArray[np.complex64]:
        """Slice i, (coils, h, w)."""
        shape = _shape(self.dims)
        if not _is_volume(self.dims):
            return _volume(self.path, self.dims, i).reshape(shape[1:])
        frame, x = divmod(i, self.dims[0])
        return hybrid_slice(_volume, (self.path, self.dims, frame), x)

    def maps(self, i: int) -> NDArray[np.complex64] | None:
        """Slice i of the file given as `maps`; one volume of maps serves all frames."""
        if self.maps_dims is None:
            return None
        shape = _shape(self.maps_dims)
        frame, x = divmod(i % shape[0], self.dims[0]) if _is_volume(self.dims) else (i % shape[0], slice(None))
        return np.ascontiguousarray(_volume(_maps_of(self.path), self.maps_dims, frame)[:, x]).reshape(shape[1:])


def open_bart(path: Path, *, budget: int = BUDGET) -> Contents:
    """Check a BART file.

    2-D k-space lies on axes 0 and 1, or 1 and 2. Where all three are longer than one, the scan is 3-D: it is
    transformed along the read-out, and every position there becomes a slice (h, w) = axes (1, 2). All other axes count
    slices, the lowest fastest. Zeros tell what was not sampled. Maps are read from `<name>_maps.cfl` beside it.

    Args:
        path: the .cfl, the .hdr, or their name without an ending.
        budget: bytes that one read may ask for.

    Raises:
        DataError: one of the two is missing or they contradict each other, several sets of maps, read-out undersampled.
    """
    header, data = _found(path)
    dims = read_dims(header, data)
    if dims[MAPS] != 1:
        raise DataError(f"has {dims[MAPS]} sets of maps on axis {MAPS}; k-space has one.", path=data)
    shape = _shape(dims)
    needed = 8 * math.prod(dims[: COILS + 1])
    if needed > budget:
        raise DataError(f"needs {needed} bytes for one volume, over the budget of {budget}; raise `budget`.", path=data)
    beside = _maps_of(data)
    maps = read_dims(beside.with_suffix(".hdr"), beside) if beside.exists() else None
    if maps is not None and (_shape(maps)[1:] != shape[1:] or shape[0] % _shape(maps)[0]):
        raise DataError(
            f"has maps of {_shape(maps)}, where k-space is {shape}; take the maps of this scan.", path=beside
        )
    reader = BartReader(data, dims, maps)
    return Contents(shape, reader, None, True, maps=None if maps is None else beside.name)


def bart_pair(path: Path) -> tuple[Path, Path] | None:
    """(.hdr, .cfl) by either name or the one without ending; None where the name is not one of BART's."""
    if path.suffix.lower() in (".cfl", ".hdr"):
        return path.with_suffix(".hdr"), path.with_suffix(".cfl")
    pair = path.with_name(path.name + ".hdr"), path.with_name(path.name + ".cfl")
    return pair if not path.exists() and all(p.exists() for p in pair) else None


def read_dims(header: Path, data: Path) -> tuple[int, ...]:
    """The sixteen dimensions in a .hdr file, which the size of the .cfl file must bear out.

    Raises:
        DataError: malformed, or another size.
    """
    try:
        lines = header.read_text(errors="replace")[: 2**20].splitlines()
        size = data.stat().st_size
    except OSError as error:
        raise DataError(
            f"cannot be opened ({error.strerror}); BART needs the .hdr and the .cfl.", path=header
        ) from error
    words = [b for a, b in pairwise(lines) if a.strip() == "# Dimensions"][:1]
    numbers = words[0].split() if words else []
    if not numbers or len(numbers) > _RANK or not all(n.isdecimal() and 0 < int(n) < 2**31 for n in numbers):
        raise DataError("has no line of positive sizes after '# Dimensions'; it is no BART header.", path=header)
    dims = tuple(map(int, numbers)) + (1,) * (_RANK - len(numbers))
    if size != 8 * math.prod(dims):
        declared = f"{header.name} declares {8 * math.prod(dims)} ({' '.join(numbers)})"
        raise DataError(f"holds {size} bytes, where {declared}; copy both again.", path=data)
    return dims


def _found(path: Path) -> tuple[Path, Path]:
    pair = bart_pair(path)
    if pair is None:
        raise DataError("is no BART file; give the .cfl.", path=path)
    return pair


def _maps_of(data: Path) -> Path:
    return data.with_name(f"{data.stem}_maps.cfl")


def _is_volume(dims: tuple[int, ...]) -> bool:
    return min(dims[:3]) > 1


def _shape(dims: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(slices, coils, h, w)."""
    frames = math.prod(dims[COILS + 1 :])
    if _is_volume(dims):
        return frames * dims[0], dims[COILS], dims[1], dims[2]
    h, w = dims[:2] if dims[2] == 1 else dims[1:3] if dims[0] == 1 else (dims[0], dims[2])
    return frames, dims[COILS], h, w


def _volume(data: Path, dims: tuple[int, ...], frame: int) -> NDArray[np.complex64]:
    """(coils, axis 0, axis 1, axis 2) of one frame."""
    flat = (*dims[: COILS + 1], math.prod(dims[COILS + 1 :]))
    stored = np.memmap(data, "<c8", "r", shape=flat, order="F")
    return np.ascontiguousarray(np.moveaxis(stored[..., frame], COILS, 0), np.complex64)
