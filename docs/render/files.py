"""File formats, from the dictionaries by which the readers and writers know them."""

import inspect
from collections.abc import Callable
from typing import Any

from docs.render.markdown import escaped, prose, table
from invdiff.data.formats import FORMATS
from invdiff.data.images import ENDINGS
from invdiff.data.images import FORMATS as IMAGES
from invdiff.data.outputs import WRITERS
from invdiff.data.projection_formats import PROJECTION_FORMATS
from invdiff.data.readout_formats import READOUT_FORMATS
from invdiff.scans import KINDS

OPEN: dict[str, Callable[..., Any]] = {
    **{name: form.open for name, form in FORMATS.items()},
    **{name: form.open for name, form in READOUT_FORMATS.items()},
    **{name: form.open for name, form in PROJECTION_FORMATS.items()},
}


def measurements() -> list[str]:
    """What `invdiff reconstruct` reads, by kind of measurement."""
    rows = [
        (kind, f"`{name}`", escaped(summary), _options(OPEN[name]))
        for kind, known in KINDS.items()
        for name, summary in known.summary.items()
    ]
    return table(("kind", "`--format`", "what it holds", "`--open`"), rows)


def readers() -> list[str]:
    """What the file of each reader says of its layout."""
    lines: list[str] = []
    for name, function in OPEN.items():
        told = inspect.getdoc(inspect.getmodule(function)) or ""
        lines += [f"**`{name}`**", "", *prose(told)]
    return lines


def images() -> list[str]:
    """What `train`, `fit-prior` and `open_images` read."""
    rows = []
    for name, function in IMAGES.items():
        endings = ", ".join(f"`{ending}`" for ending, kind in ENDINGS.items() if kind == name)
        rows.append((f"`{name}`", endings or "`.h5` with `kspace`", _first(function), _options(function)))
    return table(("format", "endings", "what it holds", "options"), rows)


def writers() -> list[str]:
    """What `--out` may end in."""
    rows = [(f"`{end}`" if end else "a folder", _written(end), w.library or "-") for end, w in WRITERS.items()]
    return table(("ending", "what is written", "needs"), rows)


def _written(ending: str) -> str:
    kinds = {
        ".h5": "HDF5, dataset `reconstruction`: magnitudes, or Hounsfield units; attributes say how it was made",
        ".nii": "NIfTI-1: magnitude, and the phase beside it where the image is complex",
        ".dcm": "DICOM secondary capture",
        ".cfl": "BART, complex, with its `.hdr`",
    }
    alike = {".hdf5": ".h5", ".nii.gz": ".nii", "": ".dcm"}
    return kinds[alike.get(ending, ending)] + {".dcm": ", one slice", "": ", one file for each slice"}.get(ending, "")


def _first(function: Callable[..., Any]) -> str:
    told = inspect.getdoc(function) or inspect.getdoc(inspect.getmodule(function)) or ""
    return escaped(" ".join(told.split("\n\n")[0].split()))


def _options(function: Callable[..., Any]) -> str:
    names = [name for name in list(inspect.signature(function).parameters)[1:] if name != "budget"]
    return ", ".join(f"`{name}`" for name in names) or "-"
