"""projections (slice, view, bin) and the numbers of the geometry by name, in HDF5 or .npz.

    projections                       line integrals, (view, bin) or (slice, view, bin); or
    counts                            detector counts of that shape, and one of
        photons                       of the air scan, a number, (bin,) or (view, bin)
        flat, dark                    frames of the air scan and without beam, (bin,) or (frame, bin); dark optional
    angles or angles_deg              (view,), or the numbers first_deg and step_deg
    bin_width, offset, detector, ...  the attributes of `invdiff.data.beam.Beam`
    electronic, mu_water, spacing     of `ProjectionContents`; optional
    reference                         images (H, W) or (slice, H, W), mm^-1; optional

Numbers may be data sets or, in HDF5, attributes of the file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from invdiff.data.beam import ANGLES, NUMBERS, beam_from
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET, attributes, check_budget, find, keys, opened, plain, required
from invdiff.data.kspace_arrays import array_headers, load_array
from invdiff.data.projections_contents import Kind, Photons, ProjectionContents, ProjectionReader

FRAMES = ("photons", "flat", "dark")
OTHERS = ("electronic", "mu_water", "spacing")
STACKS = ("projections", "counts", "reference")
KNOWN = (*STACKS, *FRAMES, *ANGLES, *NUMBERS, *OTHERS)
_SMALL = 2**26  # bytes of frames and angles


@dataclass(frozen=True)
class NamedReader(ProjectionReader):
    """Slices of the arrays of one file; the dark frame is taken off the counts."""

    name: str
    single: bool
    dark: NDArray[np.float64] | None
    air: Photons | None
    referenced: bool

    def projections(self, i: int) -> NDArray[np.float32]:
        values = self._stored(self.name, i)
        return np.asarray(values if self.dark is None else values - self.dark, np.float32)

    def photons(self, i: int) -> Photons | None:
        return self.air

    def reference(self, i: int) -> NDArray[np.float32] | None:
        return np.asarray(self._stored("reference", i), np.float32) if self.referenced else None

    def _stored(self, name: str, i: int) -> NDArray[Any]:
        if not h5py.is_hdf5(self.path):
            values = load_array(self.path, name)
            return values if self.single else np.asarray(values[i])
        with opened(self.path) as file:
            data = required(file, name, self.path)
            return np.asarray(data[()] if self.single else data[i])


def open_named(path: Path, *, budget: int = BUDGET) -> ProjectionContents:
    """Check a file of named arrays.

    Raises:
        DataError: neither projections nor counts, a name or shape that does not fit, or no geometry.
    """
    shapes, read = _arrays(path, budget)
    if path.suffix.lower() == ".npz":
        values: dict[str, Any] = {n: read(n) for n in shapes if n not in STACKS}
    else:
        with opened(path) as file:
            about = attributes(file)
        values = {n: v for n, v in about.items() if n in KNOWN} | {n: read(n) for n in shapes if n not in STACKS}
    try:
        return _contents(path, shapes, values)
    except DataError:
        raise
    except (ValueError, TypeError) as error:
        raise DataError(str(error), path=path) from error


def _arrays(path: Path, budget: int) -> tuple[dict[str, tuple[int, ...]], Callable[[str], Any]]:
    """Shapes of the arrays with a known name, and a function that reads one."""
    if path.suffix.lower() == ".npz":
        headers = {name: header for name, header in array_headers(path).items() if name in KNOWN}
        for name, (shape, dtype) in headers.items():
            _check(path, name, shape, dtype, int(np.prod(shape, dtype=object)) * dtype.itemsize, budget)
        return {name: shape for name, (shape, _) in headers.items()}, lambda name: plain(load_array(path, name))
    found: dict[str, tuple[int, ...]] = {}
    with opened(path) as file:
        for name in (n for n in KNOWN if find(file, n, path) is not None):
            data = required(file, name, path)
            shape = tuple(int(n) for n in data.shape or ())
            check_budget(data, path, shape[0] if len(shape) == 3 else 1, budget)
            size = int(np.prod(shape, dtype=object)) * data.dtype.itemsize
            _check(path, name, shape, data.dtype, 0 if name in STACKS else size, budget)
            found[name] = shape
        if not {"projections", "counts"} & set(found):
            raise DataError(f"has neither 'projections' nor 'counts'; it holds {', '.join(keys(file)) or 'nothing'}.",
                            path=path)  # fmt: skip
    return found, lambda name: _read(path, name)


def _read(path: Path, name: str) -> Any:
    with opened(path) as file:
        return plain(required(file, name, path)[()])


def _check(path: Path, name: str, shape: tuple[int, ...], dtype: "np.dtype[Any]", size: int, budget: int) -> None:
    if dtype.kind not in "biuf" and not (name == "detector" and dtype.kind in "SUO"):
        raise DataError(f"wanted real numbers, got {dtype}.", path=path, dataset=name)
    if size > (budget if name in STACKS else min(budget, _SMALL)):
        raise DataError(f"declares {size} bytes, over the budget of {budget}; raise `budget` if the file is sound.",
                        path=path, dataset=name)  # fmt: skip


def _contents(path: Path, shapes: Mapping[str, tuple[int, ...]], values: dict[str, Any]) -> ProjectionContents:
    kind: Kind = "integrals" if "projections" in shapes else "counts"
    name = "projections" if kind == "integrals" else "counts"
    if name not in shapes:
        raise DataError(f"has neither 'projections' nor 'counts'; it holds {', '.join(shapes) or 'nothing known'}.",
                        path=path)  # fmt: skip
    if not 2 <= len(shapes[name]) <= 3 or min(shapes[name]) < 1:
        raise DataError(f"wanted (view, bin) or (slice, view, bin), got {shapes[name]}.", path=path, dataset=name)
    slices, views, bins = (1, *shapes[name])[-3:]
    single = len(shapes[name]) == 2
    referenced = "reference" in shapes
    if referenced and (
        len(shapes["reference"]) != len(shapes[name]) or (not single and shapes["reference"][0] != slices)
    ):
        raise DataError(f"is {shapes['reference']}; wanted one image for each of the {slices} slices.", path=path,
                        dataset="reference")  # fmt: skip
    photons, dark = air_scan(values, bins)
    if kind == "counts" and photons is None:
        raise ValueError("counts need the air scan: photons (a number, (bin,) or (view, bin)), or flat frames.")
    beam = beam_from({n: v for n, v in values.items() if n in (*ANGLES, *NUMBERS)}, views, bins)
    numbers: dict[str, Any] = {n: float(values[n]) for n in OTHERS if values.get(n) is not None}
    reader = NamedReader(path, name, single, dark if kind == "counts" else None, photons, referenced)
    return ProjectionContents((slices, views, bins), kind, beam, reader, **numbers)


def air_scan(values: Mapping[str, Any], bins: int) -> tuple[Photons | None, NDArray[np.float64] | None]:
    """Counts without the object, dark signal removed, and the dark frame (bin,).

    Raises:
        ValueError: frames of another width, or an air scan that is nowhere brighter than the dark frame.
    """
    frames = {n: np.asarray(values[n], np.float64) for n in FRAMES if values.get(n) is not None}
    for name, frame in frames.items():
        if frame.ndim > 2 or (frame.ndim and frame.shape[-1] != bins):
            raise ValueError(f"{name} must end in {bins} bins, got {frame.shape}.")
    dark = None if "dark" not in frames else np.broadcast_to(_mean(frames["dark"]), (bins,)).copy()
    if "flat" in frames:
        photons = np.broadcast_to(_mean(frames["flat"]), (bins,)) - (0.0 if dark is None else dark)
    elif "photons" in frames:
        photons = frames["photons"]
    else:
        return None, dark
    if not (photons > 0).any():
        raise ValueError("the air scan is nowhere brighter than the dark frame; are flat and dark exchanged?")
    return (float(photons) if photons.ndim == 0 else photons), dark


def _mean(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(frames.mean(0) if frames.ndim == 2 else frames)
