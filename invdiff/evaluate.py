"""`invdiff evaluate RECONSTRUCTIONS REFERENCES`: NMSE, PSNR and SSIM per volume, as the fastMRI evaluation has them."""

import argparse
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from tqdm import tqdm

from invdiff.data.atomic import check_target, write_files
from invdiff.data.errors import DataError
from invdiff.data.reconstructions import read_volume
from invdiff.metrics import FastMRIScores, fastmri_scores
from invdiff.settings import UsageError

TARGETS: dict[str | None, tuple[str, ...]] = {
    "rss": ("reconstruction_rss",),  # root sum of squares of the coils
    "esc": ("reconstruction_esc",),  # emulated single coil
    None: ("reconstruction_esc", "reconstruction_rss", "reconstruction"),  # only single-coil files have the first
}


EPILOG = """examples:
  invdiff evaluate reconstructions/ multicoil_val/
  invdiff evaluate reconstructions/file1000001.h5 multicoil_val/file1000001.h5
  invdiff evaluate reconstructions/ singlecoil_val/ --target rss --out scores.csv
"""


@dataclass(frozen=True)
class Row:
    """The scores of one volume.

    Attributes:
        name: of the file, with folders below the one given.
        acquisition: such as AXT2; "" where the reference does not say.
        slices: their number.
        scores: see `invdiff.metrics.fastmri_scores`.
    """

    name: str
    acquisition: str
    slices: int
    scores: FastMRIScores


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="score reconstructions as fastMRI does",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("reconstructions", type=Path, help="HDF5 file with `reconstruction`, or a folder of them")
    parser.add_argument("references", type=Path, help="fastMRI file, or the folder of the same names")
    parser.add_argument(
        "--target", choices=("rss", "esc"), help="reference to take (default: esc of single-coil files)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a row per volume and the means; 1 where a volume could not be scored."""
    if options.out is not None and options.out.suffix not in _FORMS:
        raise UsageError(f"scores are written to {' or '.join(_FORMS)}, got {options.out}.")
    if options.out is not None:
        check_target(options.out, overwrite=True)
    pairs = matched(options.reconstructions, options.references)
    rows, faults = score(pairs, options.target)
    for line in table(rows):
        print(line)
    for fault in faults:
        print(f"not scored: {fault}")
    if options.out is not None:
        write_rows(options.out, rows, faults)
        print(f"wrote {options.out}")
    return 1 if faults else 0


def matched(reconstructions: Path, references: Path) -> list[tuple[str, Path, Path]]:
    """(name, reconstruction, reference) of two files, or of the files of two folders by their relative names.

    A reference that is not there is looked for without the ending `_v2` that the knee leaderboard gave its names.

    Raises:
        UsageError: a file and a folder, or an empty folder.
    """
    if reconstructions.is_dir() != references.is_dir():
        raise UsageError("give two files or two folders.")
    if not reconstructions.is_dir():
        return [(reconstructions.name, reconstructions, references)]
    files = sorted(p for p in reconstructions.rglob("*.h5") if not p.name.startswith("."))
    if not files:
        raise UsageError(f"{reconstructions} holds no .h5 files.")
    return [(str(p.relative_to(reconstructions)), p, _reference(p, reconstructions, references)) for p in files]


def _reference(path: Path, folder: Path, references: Path) -> Path:
    same = references / path.relative_to(folder)
    older = same.with_name(f"{same.stem.removesuffix('_v2')}{same.suffix}")
    return older if older.exists() and not same.exists() else same


def score(pairs: Iterable[tuple[str, Path, Path]], target: str | None = None) -> tuple[list[Row], list[str]]:
    """Scores of all pairs that have some, and a sentence for each that has none."""
    rows, faults = [], []
    for name, reconstruction, reference in tqdm(list(pairs), unit="volume", disable=None):
        try:
            images, _ = read_volume(reconstruction)
            truth, attrs = read_volume(reference, TARGETS[target])
            rows.append(Row(name, str(attrs.get("acquisition", "")), len(truth), fastmri_scores(truth, images)))
        except DataError as error:
            faults.append(str(error))
        except ValueError as error:
            faults.append(f"{name}: {error}")
    return rows, faults


def table(rows: Sequence[Row]) -> list[str]:
    """Lines: one for each volume, the means by acquisition, and over all, with two standard deviations."""
    if not rows:
        return ["no volume was scored"]
    width = max(24, *(len(row.name) for row in rows))
    lines = [f"{'volume':{width}}  {'acquisition':12} slices    NMSE    PSNR    SSIM"]
    for row in rows:
        nmse, psnr, ssim = row.scores
        lines.append(f"{row.name:{width}}  {row.acquisition:12} {row.slices:6d} {nmse:7.4f} {psnr:7.2f} {ssim:7.4f}")
    kinds = sorted({row.acquisition for row in rows})
    for kind in kinds if len(kinds) > 1 else []:
        lines.append(_summary(kind or "(not stated)", [row for row in rows if row.acquisition == kind]))
    return [*lines, _summary("all", rows)]


def _summary(name: str, rows: Sequence[Row]) -> str:
    parts = []
    for metric, form in (("nmse", ".4f"), ("psnr", ".2f"), ("ssim", ".4f")):
        mean, spread = mean_and_spread([getattr(row.scores, metric) for row in rows])
        parts.append(f"{metric.upper()} {mean:{form}} +- {spread:{form}}")
    return f"{name} ({len(rows)} volume{'s' if len(rows) > 1 else ''}): " + "   ".join(parts)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean over volumes and two sample standard deviations, as published tables have them; NaN of one volume."""
    if not all(map(math.isfinite, values)):
        return fmean(values), math.nan
    return fmean(values), 2 * stdev(values) if len(values) > 1 else math.nan


def write_rows(path: str | os.PathLike[str], rows: Sequence[Row], faults: Sequence[str] = ()) -> None:
    """Write the scores to .json or .csv, whole or not at all.

    Raises:
        DataError: the disk refused.
    """
    write_files({Path(path): _FORMS[Path(path).suffix](rows, faults).encode()}, overwrite=True)


def _json(rows: Sequence[Row], faults: Sequence[str]) -> str:
    """Infinity, which JSON lacks, as null."""
    volumes = [
        {"name": row.name, "acquisition": row.acquisition, "slices": row.slices}
        | {k: v if math.isfinite(v) else None for k, v in row.scores._asdict().items()}
        for row in rows
    ]
    return json.dumps({"volumes": volumes, "not_scored": list(faults)}, indent=1) + "\n"


def _csv(rows: Sequence[Row], faults: Sequence[str]) -> str:
    lines = ["name,acquisition,slices,nmse,psnr,ssim"]
    lines += [",".join(map(str, (row.name, row.acquisition, row.slices, *row.scores))) for row in rows]
    return "\n".join(lines) + "\n"


_FORMS: dict[str, Callable[[Sequence[Row], Sequence[str]], str]] = {".json": _json, ".csv": _csv}
