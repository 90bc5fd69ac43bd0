"""READOUT_FORMATS: the files of samples along trajectories that can be read, and how one is known."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from invdiff.data.errors import DataError
from invdiff.data.readouts import ReadoutFile, is_readouts, open_readouts
from invdiff.data.readouts_ismrmrd import is_ismrmrd_readouts, open_ismrmrd_readouts


@dataclass(frozen=True)
class ReadoutFormat:
    """How a kind of file is known and opened.

    Attributes:
        summary: what it holds, for the help of `invdiff reconstruct`.
        known: whether a file is one.
        open: from its path.
    """

    summary: str
    known: Callable[[Path], bool]
    open: Callable[[Path], ReadoutFile]


READOUT_FORMATS: dict[str, ReadoutFormat] = {
    "trajectory": ReadoutFormat(
        "HDF5 or .npz with `kspace` (coils, read-outs, samples) and `trajectory` (..., 2)", is_readouts, open_readouts
    ),
    "ismrmrd-trajectory": ReadoutFormat(
        "ISMRMRD HDF5: acquisitions with their trajectories, noise scan, geometry",
        is_ismrmrd_readouts,
        open_ismrmrd_readouts,
    ),
}


def recognised_readouts(path: Path) -> str | None:
    """A key of READOUT_FORMATS; None where a file is none of them.

    Raises:
        DataError: its structure is damaged.
    """
    return next((name for name, form in READOUT_FORMATS.items() if form.known(path)), None)


def open_readout_file(path: Path, format: str | None = None) -> ReadoutFile:
    """Check the structure of a file of read-outs, of a format that is given or recognised.

    Raises:
        DataError: the file cannot be used; names what was found and what to do.
    """
    name = format or recognised_readouts(path)
    if name is None:
        known = "; ".join(f"{n}: {form.summary}" for n, form in READOUT_FORMATS.items())
        raise DataError(f"holds no read-outs that can be read. There is: {known}.", path=path)
    return READOUT_FORMATS[name].open(path)
