"""A file appears whole or not at all: written beside its name, flushed, renamed."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file under another name in the same folder, then give it its name.

    A process that dies at any moment leaves the old file whole; the unfinished one is overwritten by the next attempt.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: the folder {path.parent} does not exist; make it first.")
    partial = path.with_name(f".{path.name}.partial")
    try:
        write(partial)
        descriptor = os.open(partial, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
