"""open_kspace(path): one door to the k-space files of `invdiff.data.formats.FORMATS`.

file = open_kspace("scan.h5")
for i in range(file.n_slices):
    kspace, mask = file.kspace(i), file.sampling(i)  # or, in one reading, file.measured(i)
"""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from invdiff.checks import nearest
from invdiff.data.formats import FORMATS, open_contents
from invdiff.data.guarded import guarded
from invdiff.data.kspace_file import KSpaceFile

__all__ = ["KSpaceFile", "group_by_shape", "open_kspace"]


def open_kspace(
    path: str | PathLike[str],
    format: str | None = None,
    *,
    isolated: bool = True,
    repair: bool = False,
    **options: Any,
) -> KSpaceFile:
    """Check a k-space file's structure and return it for reading slice by slice.

    Args:
        path: the file. BART's pair of files goes by either name, or by the name without an ending.
        format: a key of `invdiff.data.formats.FORMATS`; None tells by name and content.
        isolated: read in another process, so that a damaged file cannot kill this one. It costs a third of a second
            once, and a copy of each slice.
        repair: set points that are NaN or infinite to zero and count them as not sampled, in place of refusing.
        options: of the format, such as `axes`, `pairs`, `infer_mask`, `key`, `echo`; see its `open_...` function.

    Raises:
        DataError: the file cannot be used; names file and dataset, what was found and what to do.
        ValueError: there is no such format. TypeError: an option that the format does not have.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise ValueError(f"there is no k-space format {format!r}.{nearest(format, FORMATS)}")
    arguments = (path, format, options)
    name, contents = guarded(path, open_contents, *arguments) if isolated else open_contents(*arguments)
    return KSpaceFile(contents.reader.path, name, contents, isolated, repair)


def group_by_shape(files: Iterable[KSpaceFile]) -> dict[tuple[int, int, int], list[KSpaceFile]]:
    """Files by (coils, h, w): only those of one group fit in a batch, since nothing is padded."""
    groups: dict[tuple[int, int, int], list[KSpaceFile]] = {}
    for file in files:
        groups.setdefault(file.shape[1:], []).append(file)
    return groups
