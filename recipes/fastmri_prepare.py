"""Look at a fastMRI folder before days of work go into it: is every file whole, and what is there?

    python recipes/fastmri_prepare.py /data/fastmri --out index.jsonl
    python recipes/fastmri_prepare.py /data/fastmri/multicoil_val --read --sums

Every file is opened, with --read every slice of it too, in a process of its own. One line of JSON per volume goes to
--out (acquisition, patient, sizes, crop, padding, acceleration, or the fault), and a table by folder and acquisition to
the terminal. --sums writes SHA256SUMS into the folder, against which `invdiff reconstruct --manifest` and
fastmri_reconstruct.py check their input: HDF5 does not notice flipped bits by itself. Exit status 1 where a file is
faulty.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from invdiff.data.atomic import write_files
from invdiff.data.errors import DataError
from invdiff.data.folders import ending, files_under
from invdiff.data.kspace import KSpaceFile, open_kspace
from invdiff.data.manifest import write_manifest
from invdiff.data.masks import achieved_acceleration

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _arguments(arguments)
    files = [f for f in files_under(options.folder) if ending(f) in (".h5", ".hdf5")]
    rows = [describe(options.folder, f, options.read) for f in tqdm(files, unit="file", disable=None)]
    for line in table(rows):
        print(line)
    faulty = [row for row in rows if "fault" in row]
    for row in faulty:
        print(f"FAULT {row['fault']}")
    if options.out is not None:
        write_files({options.out: "".join(json.dumps(row) + "\n" for row in rows).encode()}, overwrite=True)
        print(f"wrote {options.out}")
    if options.sums:
        print(f"wrote {write_manifest(options.folder, files, overwrite=True)}")
    return 1 if faulty or not files else 0


def describe(folder: Path, path: Path, read: bool) -> Row:
    """One volume, or what is wrong with it."""
    name = path.relative_to(folder).as_posix() if path != folder else path.name
    try:
        file = open_kspace(path)
        return {"file": name, **_facts(file), **(_contents(file) if read else {})}
    except DataError as error:
        return {"file": name, "fault": str(error)}


def _facts(file: KSpaceFile) -> Row:
    slices, coils, h, w = file.shape
    header = file.header
    return {
        "part": file.path.absolute().parent.name,
        "acquisition": file.acquisition or "",
        "patient": str(file.attrs.get("patient_id", "")),
        "slices": slices,
        "coils": coils,
        "size": [h, w],
        "crop": file.crop,
        "padding": None if header is None else header.padding,
        "acceleration": 1.0 if file.mask is None else round(achieved_acceleration(file.mask), 3),
        "reference": file.reference_name,
    }


def _contents(file: KSpaceFile) -> Row:
    """What only reading every slice tells."""
    states = [file.status(i) for i in range(file.n_slices)]
    for i in range(file.n_slices):
        file.reference(i)
    return {"empty_slices": states.count("empty")}


def table(rows: Sequence[Row]) -> list[str]:
    """Volumes and slices by folder and acquisition."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if "fault" not in row:
            groups[row["part"], row["acquisition"]].append(row)
    lines = [f"{'folder':20} {'acquisition':12} volumes slices patients  coils      sizes"]
    for (part, acquisition), group in sorted(groups.items()):
        coils = sorted({row["coils"] for row in group})
        sizes = sorted({tuple(row["size"]) for row in group})
        lines.append(
            f"{part:20} {acquisition:12} {len(group):7} {sum(row['slices'] for row in group):6} "
            f"{len({row['patient'] for row in group}):8}  {coils[0]:2} to {coils[-1]:2}   "
            + ", ".join(f"{h}x{w}" for h, w in sizes[:4])
            + (f" and {len(sizes) - 4} more" if len(sizes) > 4 else "")
        )
    return [*lines, f"{len(rows)} files, {sum('fault' in row for row in rows)} faulty"]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of the data set, or all of it")
    parser.add_argument("--out", type=Path, help="index, one line of JSON per volume")
    parser.add_argument("--read", action="store_true", help="read every slice (hours for the whole data set)")
    parser.add_argument("--sums", action="store_true", help="write SHA256SUMS into the folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
