"""root/[part/]subject/file: what the place of a file in a folder tells, and which files there are."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from invdiff.data.errors import DataError

_PARTS = ("train", "val", "test", "challenge")


def files_under(path: Path) -> list[Path]:
    """The file, or all files below the folder in order of their names; hidden ones and links to folders left out.

    Raises:
        DataError: nothing is there.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError("does not exist; check the path.", path=path)
    found: list[Path] = []
    for folder, below, names in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    return found


def is_dicom(path: Path) -> bool:
    """Whether a file has the mark of DICOM, whatever its name."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def ending(path: Path) -> str:
    """Lower-case suffix, with `.nii.gz` as one."""
    suffixes = [s.lower() for s in path.suffixes]
    return ".nii.gz" if suffixes[-2:] == [".nii", ".gz"] else (suffixes or [""])[-1]


def stem(path: Path) -> str:
    """The name without its ending."""
    return path.name[: len(path.name) - len(ending(path))]


def part_of(root: Path, path: Path) -> str:
    """The part that the first folder below root names ("train", "multicoil_val"), or ""."""
    first = _folders(root, path)[:1]
    last = first[0].lower().rsplit("_", 1)[-1] if first else ""
    return last if last in _PARTS else ""


def subject_of(root: Path, path: Path, *, single_slice: bool) -> str:
    """Whom a file shows, as far as names tell.

    The first folder below root (below the part, where there is one) is the subject. Where there is no such folder: the
    file name, for a file of a single slice without the number at its end (p07_slice012 and p07_slice013 are p07).
    """
    folders = _folders(root, path)[1 if part_of(root, path) else 0 :]
    if folders:
        return folders[0]
    if not single_slice:
        return stem(path)
    return re.sub(r"[-_. ]*(slice|slc|sl|img|im|z)?[-_. ]*\d+$", "", stem(path), flags=re.IGNORECASE)


def counted(paths: Iterable[Path]) -> str:
    """How many files of each ending, for a message."""
    counts: dict[str, int] = {}
    for path in paths:
        counts[ending(path) or "no ending"] = counts.get(ending(path) or "no ending", 0) + 1
    return ", ".join(f"{n} of {name}" for name, n in sorted(counts.items())) or "no files"


def _folders(root: Path, path: Path) -> tuple[str, ...]:
    return path.relative_to(root).parts[:-1] if root.is_dir() else ()
