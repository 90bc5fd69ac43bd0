"""sha256(file): a list of input files with their sums, so that bits flipped on a disk are seen before they are used.

HDF5 reads flipped bits in data without a word unless its writer stored check sums, and fastMRI's files have none. The
format is that of `sha256sum`, with paths relative to the manifest's folder.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from invdiff.data.atomic import write_files
from invdiff.data.errors import DataError

NAME = "SHA256SUMS"


def sha256(path: Path) -> str:
    """Of a file's bytes, 64 hexadecimal digits.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(2**22):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}); check the path.", path=path) from error


def write_manifest(folder: str | os.PathLike[str], files: Iterable[Path], *, overwrite: bool = False) -> Path:
    """Write the sums of files below a folder to `SHA256SUMS` in it; returns its path.

    Raises:
        DataError: a file lies elsewhere or cannot be read, or a manifest exists.
    """
    folder = Path(folder)
    names = [_name(folder, path) for path in files]
    lines = [f"{sha256(folder / name)}  {name}\n" for name in tqdm(names, unit="file", disable=None)]
    write_files({folder / NAME: "".join(lines).encode()}, overwrite=overwrite)
    return folder / NAME


def read_manifest(manifest: str | os.PathLike[str]) -> dict[Path, str]:
    """Sums by path.

    Raises:
        DataError: a line that is none, or that names a file outside the manifest's folder.
    """
    manifest, sums = Path(manifest), {}
    try:
        lines = manifest.read_text(encoding="utf8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error}); give a {NAME}.", path=manifest) from error
    for number, line in enumerate(lines, 1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not name:
            raise DataError(f"line {number} is not '<sha256>  <name>'.", path=manifest)
        sums[manifest.parent / _name(manifest.parent, manifest.parent / name)] = digest
    return sums


def check_against(manifest: dict[Path, str], path: Path) -> str:
    """Refuse a file whose bytes are not those of the manifest; returns its sum.

    Raises:
        DataError: another sum, or not listed.
    """
    wanted = {os.path.abspath(p): digest for p, digest in manifest.items()}.get(os.path.abspath(path))
    if wanted is None:
        raise DataError("is not listed in the manifest; leave it out, or write the manifest again.", path=path)
    found = sha256(path)
    if found != wanted:
        raise DataError(
            f"has the sum {found[:16]}..., the manifest says {wanted[:16]}...: its bytes have changed; copy it again.",
            path=path,
        )
    return found


def _name(folder: Path, path: Path) -> str:
    """The path from the folder; a name that leads out of it is refused."""
    relative = Path(os.path.relpath(path, folder))  # links are not followed: data sets are often made of them
    if relative.is_absolute() or ".." in relative.parts:
        raise DataError(f"lies outside {folder}, so no manifest there can list it.", path=path)
    return relative.as_posix()
