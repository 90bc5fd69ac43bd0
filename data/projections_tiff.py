"""One TIFF image for each view, (row, bin), or a stack (view, row, bin), with a geometry file beside.

The geometry file is TOML or JSON: the geometry of `invdiff.data.beam` by name, and

    kind          "counts" or "integrals" (the values are line integrals already)
    flat, dark    names of TIFF files beside it, single frames or stacks, which are averaged; dark may be left out
    photons       a number, in place of flat
    electronic    standard deviation of the electronic noise, counts. mu_water: mm^-1
    row_height    of the detector, mm (bin_width where it is not given)
    cone_deg      allow rows that are tilted by up to this angle against the plane of the source (default 1)

For a folder it is called geometry.toml or geometry.json in it; for a stack it has the name of the stack. Rows of the
detector become slices: each is taken as a fan beam of its own, which is right near the plane of the source alone.
"""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from invdiff.data.beam import beam_from, central_rows
from invdiff.data.errors import DataError
from invdiff.data.hdf5 import BUDGET
from invdiff.data.projections_contents import Kind, Photons, ProjectionContents, ProjectionReader

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENDINGS = (".tif", ".tiff")
_OTHERS = ("kind", "flat", "dark", "photons", "electronic", "mu_water", "row_height", "cone_deg")
_T = TypeVar("_T")


@dataclass(frozen=True)
class TiffReader(ProjectionReader):
    """Detector rows of a list of images (row, bin), or of one stack; the stack last read is kept."""

    files: tuple[Path, ...]
    first: int
    dark: NDArray[np.float64] | None
    air: NDArray[np.float64] | None

    def projections(self, i: int) -> NDArray[np.float32]:
        stack = _stack(self.files, tuple(f.stat().st_mtime_ns for f in self.files))
        values = stack[:, self.first + i]
        return np.asarray(values if self.dark is None else values - self.dark[self.first + i], np.float32)

    def photons(self, i: int) -> Photons | None:
        return None if self.air is None else self.air[self.first + i]


def open_tiff(path: Path, *, geometry: str | None = None, budget: int = BUDGET) -> ProjectionContents:
    """Check a folder of images, in the order of their names, or a stack.

    Args:
        path: the folder or the stack.
        geometry: path of the geometry file, where it has another name than above.
        budget: bytes that all images together may have.

    Raises:
        DataError: no images, images of different sizes, no geometry file, or one that does not fit.
    """
    about_path = _geometry_file(path) if geometry is None else Path(geometry)
    about = _explained(about_path, lambda: _parse(about_path))
    frames = {about_path.parent / str(about[n]) for n in ("flat", "dark") if isinstance(about.get(n), str)}
    found = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.suffix.lower() in ENDINGS)
    files = tuple(f for f in found if f not in frames)
    views, rows, bins = _sizes(path, files, budget)
    try:
        return _contents(path, files, (views, rows, bins), about, about_path, budget)
    except DataError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(str(error), path=about_path) from error


def _geometry_file(path: Path) -> Path:
    names = [path.with_suffix(s) for s in (".toml", ".json")]
    names = [path / f"geometry{s}" for s in (".toml", ".json")] if path.is_dir() else names
    for name in names:
        if name.is_file():
            return name
    raise DataError(f"has no geometry: write {names[0].name} beside it (angles, bin_width, ...), or pass geometry=.",
                    path=path)  # fmt: skip


def _parse(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError("does not exist; check the name of the geometry file.", path=path)
    if path.stat().st_size > 2**24:
        raise DataError(f"has {path.stat().st_size} bytes, too many for a geometry.", path=path)
    text = path.read_text("utf-8")
    parsed: Any = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    if not isinstance(parsed, dict):
        raise DataError("must hold names and values at its root.", path=path)
    return parsed


def _sizes(path: Path, files: tuple[Path, ...], budget: int) -> tuple[int, int, int]:
    """(views, rows, bins) of all images, from their headers."""
    if not files:
        raise DataError("holds no .tif images.", path=path)
    shapes = {f: _header(f) for f in files}
    sizes = {shape for shape, _ in shapes.values()}
    if len(sizes) > 1:
        odd = next(f for f in files if shapes[f][0] != shapes[files[0]][0])
        raise DataError(f"is {shapes[odd][0]}, the images before it {shapes[files[0]][0]}; take it out of the folder.",
                        path=odd)  # fmt: skip
    shape, dtype = shapes[files[0]]
    if dtype.kind not in "iuf" or len(shape) not in (2, 3) or (len(shape) == 3) != path.is_file() or min(shape) < 1:
        wanted = "a stack (view, row, bin)" if path.is_file() else "images (row, bin)"
        raise DataError(f"wanted {wanted} of grey values, got {dtype} {shape}.", path=files[0])
    declared = len(files) * math.prod(shape) * dtype.itemsize
    if declared > budget:
        raise DataError(f"declares {declared} bytes, over the budget of {budget}; raise `budget` if there is memory.",
                        path=path)  # fmt: skip
    views, rows, bins = shape if len(shape) == 3 else (len(files), *shape)
    return views, rows, bins


def _header(path: Path) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    import tifffile

    def read() -> tuple[tuple[int, ...], "np.dtype[Any]"]:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            return tuple(int(n) for n in series.shape), np.dtype(series.dtype)

    return _explained(path, read)


@lru_cache(maxsize=1)
def _stack(files: tuple[Path, ...], changed: tuple[int, ...]) -> NDArray[Any]:
    """(view, row, bin)."""
    images = [_image(f) for f in files]
    return images[0] if len(images) == 1 and images[0].ndim == 3 else np.stack(images)


def _image(path: Path) -> NDArray[Any]:
    import tifffile

    return _explained(path, lambda: np.asarray(tifffile.imread(path)))


def _explained(path: Path, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except DataError:
        raise
    except Exception as error:  # damage and missing codecs arrive in many ways
        raise DataError(f"cannot be read ({type(error).__name__}: {error}).", path=path) from error


def _contents(
    path: Path, files: tuple[Path, ...], sizes: tuple[int, int, int], about: dict[str, Any], place: Path, budget: int
) -> ProjectionContents:
    views, rows, bins = sizes
    beam = beam_from({n: v for n, v in about.items() if n not in _OTHERS}, views, bins)
    kind, height = _kind(about), float(about.get("row_height", beam.bin_width))
    first, last = central_rows(beam, rows, height, float(about.get("cone_deg", 1.0)))
    air, dark = _air_scan(about, place, (rows, bins), budget)
    if kind == "counts" and air is None:
        raise ValueError('counts need the air scan: flat = "name.tif" or photons = 10000.0; for line integrals write '
                         'kind = "integrals".')  # fmt: skip
    notes = (f"{rows - last + first} of {rows} detector rows left out: too far from the plane of the source",)
    numbers: dict[str, Any] = {n: float(about[n]) for n in ("electronic", "mu_water") if n in about}
    return ProjectionContents(
        (last - first, views, bins),
        kind,
        beam,
        TiffReader(path, files, first, dark if kind == "counts" else None, air),
        spacing=height / beam.magnification,
        notes=notes if last - first < rows else (),
        **numbers,
    )


def _kind(about: dict[str, Any]) -> Kind:
    kind = about.get("kind", "counts")
    if kind not in ("counts", "integrals"):
        raise ValueError(f'kind must be "counts" or "integrals", got {kind!r}.')
    return "counts" if kind == "counts" else "integrals"


def _air_scan(
    about: dict[str, Any], place: Path, size: tuple[int, int], budget: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Air scan without dark signal, and dark frame, (row, bin) each."""
    frames: dict[str, NDArray[np.float64]] = {}
    for name in (n for n in ("photons", "flat", "dark") if n in about):
        value = about[name]
        frames[name] = _frame(place.parent / value, size, budget) if isinstance(value, str) else np.full(size, value)
    dark = frames.get("dark")
    air = frames.get("photons")
    if "flat" in frames:
        air = frames["flat"] if dark is None else frames["flat"] - dark
    if air is not None and not (air > 0).any():
        raise ValueError("the air scan is nowhere brighter than the dark frame; are flat and dark exchanged?")
    return air, dark


def _frame(path: Path, size: tuple[int, int], budget: int) -> NDArray[np.float64]:
    """The mean (row, bin) of an image or a stack of frames."""
    shape, dtype = _header(path)
    if shape[-2:] != size or len(shape) > 3 or dtype.kind not in "iuf":
        raise DataError(f"is {dtype} {shape}; wanted frames {size}.", path=path)
    if math.prod(shape) * dtype.itemsize > budget:
        raise DataError(f"declares more than the budget of {budget} bytes.", path=path)
    frames = _image(path).astype(np.float64)
    return np.asarray(frames.mean(0) if frames.ndim == 3 else frames)
