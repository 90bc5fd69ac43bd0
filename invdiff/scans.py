"""FILE and options -> slices to solve: the kinds of measurements that `invdiff reconstruct` takes.

`KINDS` is the one place that knows them: a kind tells its files, opens them, and names the options that are its own.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from invdiff.data.formats import FORMATS
from invdiff.data.guarded import guarded
from invdiff.data.kspace import open_kspace
from invdiff.data.projection_formats import PROJECTION_FORMATS, recognised_projections
from invdiff.data.projections import open_projections
from invdiff.data.readout_formats import READOUT_FORMATS, open_readout_file, recognised_readouts
from invdiff.data.undersampling import KINDS as PATTERNS
from invdiff.data.undersampling import Undersampling
from invdiff.prepare import CartesianScan
from invdiff.prepare_coils import Coils
from invdiff.prepare_ct import ProjectionScan
from invdiff.prepare_noncartesian import NonCartesianScan
from invdiff.scan import Scan
from invdiff.settings import UsageError, parse_settings


@dataclass(frozen=True)
class Kind:
    """One kind of measurement.

    Attributes:
        summary: the files it reads, for the help; by the name that --format takes.
        known: whether a file is of this kind, from its path.
        open: from the options of the command line to a `Scan`; nothing is read of it but its structure.
        options: names of the options, of those that not every kind takes, that it does.
    """

    summary: dict[str, str]
    known: Callable[[Path], bool]
    open: Callable[[argparse.Namespace], Scan]
    options: tuple[str, ...]


def open_scan(options: argparse.Namespace, defaults: argparse.ArgumentParser) -> Scan:
    """The scan in `options.file`, of the kind that --format names or that knows the file.

    Raises:
        UsageError: an option of another kind. DataError: a file that cannot be used.
    """
    path: Path = options.file
    named = {form: name for name, kind in KINDS.items() for form in kind.summary}
    name = named[options.format] if options.format else next(n for n, kind in KINDS.items() if kind.known(path))
    for option in {o for kind in KINDS.values() for o in kind.options} - set(KINDS[name].options):
        if getattr(options, option) != defaults.get_default(option):
            raise UsageError(f"--{option.replace('_', '-')} is not for {name} files, which {path.name} is one of.")
    return KINDS[name].open(options)


def _cartesian(options: argparse.Namespace) -> CartesianScan:
    form = options.format
    file = open_kspace(options.file, form, repair=options.repair, **parse_settings(options.open))
    factor = options.oversampling or 1
    return CartesianScan(file, _undersampling(options), _coils(options), factor, options.partial_fourier)


def _undersampling(options: argparse.Namespace) -> Undersampling | None:
    if options.mask in PATTERNS and options.acceleration is None:
        return None
    try:
        acceleration = 1.0 if options.acceleration is None else options.acceleration
        return Undersampling(options.mask, acceleration, options.acs, options.seed)
    except ValueError as error:
        raise UsageError(f"--mask: {error}") from error


def _noncartesian(options: argparse.Namespace) -> NonCartesianScan:
    file = guarded(options.file, open_readout_file, options.file, options.format)
    return NonCartesianScan(file, _coils(options), _size(options), options.spokes, options.oversampling, options.gains)


def _projections(options: argparse.Namespace) -> ProjectionScan:
    if options.weighted and options.sigma is not None:
        raise UsageError("--weighted takes the noise of every ray from its counts, --sigma one for all; give one.")
    file = open_projections(options.file, options.format, **parse_settings(options.open))
    return ProjectionScan(file, _size(options), options.pixel, options.views, options.mu_water, options.weighted)


def _size(options: argparse.Namespace) -> tuple[int, int] | None:
    if options.size is None:
        return None
    if len(options.size) > 2:
        raise UsageError(f"--size takes one side or two, got {' '.join(map(str, options.size))}.")
    return options.size[0], options.size[-1]


def _coils(options: argparse.Namespace) -> Coils:
    return Coils(options.maps, options.sets, options.map_crop, options.coils, options.whiten)


def _is_readouts(path: Path) -> bool:
    return path.exists() and guarded(path, recognised_readouts, path) is not None


def _is_projections(path: Path) -> bool:
    return path.exists() and guarded(path, recognised_projections, path) is not None


COILS = ("maps", "sets", "map_crop", "coils", "whiten", "oversampling")
KINDS: dict[str, Kind] = {  # the first that knows a file opens it; the last takes, or refuses, whatever is left
    "non-Cartesian": Kind(
        {name: form.summary for name, form in READOUT_FORMATS.items()},
        _is_readouts,
        _noncartesian,
        (*COILS, "size", "spokes", "gains"),
    ),
    "CT": Kind(
        {name: form.summary for name, form in PROJECTION_FORMATS.items()},
        _is_projections,
        _projections,
        ("open", "size", "pixel", "views", "mu_water", "weighted"),
    ),
    "Cartesian": Kind(
        {name: form.summary for name, form in FORMATS.items()},
        lambda path: True,
        _cartesian,
        (*COILS, "open", "repair", "acceleration", "acs", "mask", "partial_fourier"),
    ),
}
