"""`invdiff inspect PATH` of data: which kind of measurements or images a file or folder holds, and the facts of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from invdiff.data.beam import Beam
from invdiff.data.dicom_series import series_frames
from invdiff.data.errors import DataError
from invdiff.data.guarded import guarded
from invdiff.data.images import format_of, open_images
from invdiff.data.kspace import open_kspace
from invdiff.data.projection_formats import recognised_projections
from invdiff.data.projections import open_projections
from invdiff.data.readout_formats import open_readout_file, recognised_readouts

Row = tuple[str, str]


def described_data(path: Path) -> list[Row]:
    """Label and text, line by line, of the first kind of data that a file or folder can be read as.

    Raises:
        ValueError: it is none; says why not for every kind that it could be.
    """
    faults = []
    for what, (known, describe) in DATA.items():
        try:
            if known(path):
                return list(describe(path))
        except DataError as error:
            faults.append(f"As {what}: {str(error).removeprefix(f'{path}: ')}")
    raise ValueError(" ".join(faults))


def _kspace(path: Path) -> Iterator[Row]:
    file = open_kspace(path)
    slices, coils, height, width = file.shape
    yield (
        "data",
        f"{path}: k-space ({file.format}), {_count(slices, 'slice')} of {_count(coils, 'coil')}, {height} x {width}",
    )
    sampled = "full" if file.fully_sampled else "in part"
    if file.mask is not None and not file.fully_sampled:
        sampled = f"one point of {1 / float(file.mask.float().mean()):.2f} (a mask is stored)"
    yield "sampled", sampled
    yield "reference", file.reference_name or "none"
    yield "to use it", f"invdiff reconstruct {path}"


def _readouts(path: Path) -> Iterator[Row]:
    file = guarded(path, open_readout_file, path)
    slices, coils, lines, samples = file.shape
    read_outs = f"{_count(slices, 'slice')} of {_count(coils, 'coil')}, {lines} read-outs of {samples} samples"
    yield "data", f"{path}: samples along a trajectory ({file.format}), {read_outs}"
    reach = np.abs(guarded(path, type(file).trajectory, file, 0)).max((0, 1))
    yield "trajectory", f"reaches {reach[0]:.4g} (rows) and {reach[1]:.4g} (columns) cycles per field of view"
    resolved = " x ".join(str(max(1, 2 * round(float(k)))) for k in reach)
    yield "image", resolved if file.size is None else f"{file.size[0]} x {file.size[1]}, as the file says"
    yield "beside", ", ".join(file.beside) or "no noise, maps or reference"
    yield from _noted(file.notes)
    yield "to use it", f"invdiff reconstruct {path}"


def _projections(path: Path) -> Iterator[Row]:
    file = open_projections(path)
    slices, views, bins = file.shape
    values = {"counts": "counts of photons", "integrals": "line integrals"}[file.contents.kind]
    yield (
        "data",
        f"{path}: projections ({file.format}), {_count(slices, 'slice')} of {views} views, {bins} bins; {values}",
    )
    yield "rays", _rays(file.beam)
    if file.contents.table is not None:
        yield "table", f"moves by {np.ptp(file.contents.table):.4g} mm"
    reference = file.reference(0)
    yield "reference", "none" if reference is None else f"{reference.shape[0]} x {reference.shape[1]}"
    yield from _noted(file.contents.notes)
    yield "to use it", f"invdiff reconstruct {path}"


def _rays(beam: Beam) -> str:
    first, last = np.rad2deg([beam.angles.min(), beam.angles.max()])
    shape = "parallel"
    if beam.source_distance is not None:
        magnified = f"magnified {beam.magnification:.3g} times on a {beam.detector} detector"
        shape = f"fan from {beam.source_distance:.4g} mm, {magnified}"
    return f"{shape}; bins of {beam.bin_width:.4g} mm, angles {first:.4g} to {last:.4g} degrees"


def _images(path: Path) -> Iterator[Row]:
    yield "data", open_images(path).describe()
    if format_of(path) == "dicom":
        yield "series", _series(path)
    yield "to use it", f"invdiff train CONFIG --data {path}"


def _series(path: Path) -> str:
    """Whether DICOM slices make a volume, and its voxels."""
    try:
        frames, geometry = series_frames(path)
    except DataError as error:
        return f"no regular volume: {str(error).removeprefix(f'{path}: ')}"
    rows, columns, slices = geometry.spacing
    return f"one volume of {len(frames)} slices, {rows:.4g} (rows) x {columns:.4g} (columns) x {slices:.4g} (slices) mm"


def _noted(notes: tuple[str, ...]) -> Iterator[Row]:
    if notes:
        yield "notes", "; ".join(notes)


def _any(path: Path) -> bool:
    return True


DATA: dict[str, tuple[Callable[[Path], bool], Callable[[Path], Iterator[Row]]]] = {  # tried in this order where known
    "read-outs": (lambda path: guarded(path, recognised_readouts, path) is not None, _readouts),
    "projections": (lambda path: guarded(path, recognised_projections, path) is not None, _projections),
    "k-space": (_any, _kspace),
    "images": (_any, _images),
}


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
