"""Files that appear whole or not at all: another name in the same folder, flush to disk, read back, rename.

A full disk or a killed job never leaves something that looks like a result, and inputs are never replaced.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import h5py

from invdiff.data.errors import DataError
from invdiff.data.guarded import guarded


def write_files(
    contents: Mapping[Path, bytes], *, inputs: Iterable[str | os.PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Write files of one folder; none of them gets its name before all of them are on the disk.

    Args:
        contents: bytes by path; the folder must exist.
        inputs: files that the contents were made from; none of them is ever overwritten.
        overwrite: replace existing files, except inputs and files that hold k-space.

    Raises:
        DataError: a path is an input or in use, or the disk refused; nothing is left behind.
    """
    for path in contents:
        check_target(path, inputs, overwrite)
    temporary = {path: _temporary(path) for path in contents}
    first = next(iter(contents))
    try:
        with _explained(first, contents):
            for path, content in contents.items():
                _write_through(temporary[path], content)
                if temporary[path].read_bytes() != content:
                    raise DataError("what was read back differs from what was written; check the disk.", path=path)
            for path in contents:
                os.replace(temporary[path], path)
            _sync_folder(first.parent)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def write_folder(folder: Path, contents: Mapping[str, bytes], *, overwrite: bool = False) -> None:
    """Make a folder with files by name, the whole of it or nothing.

    Args:
        folder: its parent must exist. An empty folder may be there already.
        contents: bytes by name.
        overwrite: replace a folder that holds nothing but files with the endings of `contents`.

    Raises:
        DataError: the folder is in use, or the disk refused; nothing is left behind.
    """
    check_folder(folder, {Path(name).suffix for name in contents}, overwrite)
    temporary, old = _temporary(folder), _temporary(folder)
    try:
        with _explained(folder, contents):
            temporary.mkdir()
            for name, content in contents.items():
                _write_through(temporary / name, content)
            if folder.exists():
                folder.rename(old)
            temporary.rename(folder)
            _sync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def check_folder(folder: Path, suffixes: set[str], overwrite: bool = False) -> None:
    """Refuse a folder that cannot or must not be written: anything but a new or empty one, or one of our own.

    Raises:
        DataError: no parent, a file, or files in it (with `overwrite`: files of other endings).
    """
    if not folder.parent.is_dir():
        raise DataError(f"the folder {folder.parent} does not exist; make it first.", path=folder)
    if folder.is_file():
        raise DataError("is a file; name a folder.", path=folder)
    _check_writable(folder)
    held = {p.suffix for p in folder.iterdir()} if folder.exists() else set()
    if held and not (overwrite and held <= suffixes):
        raise DataError("exists already and is not empty; name another folder.", path=folder)


def check_target(path: Path, inputs: Iterable[str | os.PathLike[str]] = (), overwrite: bool = False) -> None:
    """Refuse a path that cannot or must not be written, before any work is done for it.

    Raises:
        DataError: no such folder, an input, k-space, or a file in use.
    """
    if not path.parent.is_dir():
        raise DataError(f"the folder {path.parent} does not exist; make it first.", path=path)
    if path.is_dir():
        raise DataError("is a folder; name a file.", path=path)
    _check_writable(path)
    if not path.exists():
        return
    if any(Path(p).exists() and path.samefile(p) for p in inputs) or _measured(path):
        raise DataError("is an input and is never overwritten; write to another folder.", path=path)
    if not overwrite:
        raise DataError("exists already; pass overwrite=True to replace it.", path=path)


def _check_writable(path: Path) -> None:
    """Refuse a place that takes no new files: one is made beside `path` and removed."""
    probe = _temporary(path)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise DataError(f"nothing can be written there ({error.strerror}); give another place.", path=path) from error


def _measured(path: Path) -> bool:
    """Whether it may be measured data; a damaged file is no reason to keep it."""
    try:
        return guarded(path, _holds_kspace, path)
    except DataError:
        return False


def _holds_kspace(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return "kspace" in list(file.keys())
    except (OSError, RuntimeError, KeyError):
        return False


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


@contextlib.contextmanager
def _explained(path: Path, contents: Mapping[Path, bytes] | Mapping[str, bytes]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        size = sum(map(len, contents.values()))
        raise DataError(
            f"could not be written ({error.strerror}); {size} bytes are needed, and nothing was left behind.", path=path
        ) from error


def _write_through(path: Path, content: bytes) -> None:
    with path.open("xb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system lets folders be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
