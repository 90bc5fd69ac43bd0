"""part i -> image and facts, on disk: what a long run has finished, so that one that was stopped goes on from there.

The parts lie in a folder whose name holds a digest of all that they depend on; a run that ends well removes it.
"""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invdiff.data.atomic import write_files
from invdiff.data.errors import DataError


@dataclass(frozen=True)
class Kept:
    """Finished parts.

    Attributes:
        folder: where they lie; made with the first.
    """

    folder: Path

    def read(self, i: int) -> tuple[Tensor, Any] | None:
        """Image and facts of part i, None where it is not kept or damaged."""
        try:
            with np.load(io.BytesIO(self._path(i).read_bytes()), allow_pickle=False) as file:
                return torch.from_numpy(file["image"]), json.loads(str(file["facts"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def write(self, i: int, image: Tensor, facts: Any) -> None:
        """Keep part i; facts are what JSON can hold. A disk that refuses costs the safety and not the run."""
        stream = io.BytesIO()
        np.savez(stream, image=image.resolve_conj().numpy(), facts=np.array(json.dumps(facts)))
        with suppress(OSError, DataError):
            self.folder.mkdir(exist_ok=True)
            write_files({self._path(i): stream.getvalue()}, overwrite=True)

    def count(self) -> int:
        """How many parts are kept."""
        return len(list(self.folder.glob("*.npz"))) if self.folder.is_dir() else 0

    def remove(self) -> None:
        """Forget all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, i: int) -> Path:
        return self.folder / f"{i:06}.npz"


def kept_beside(path: Path, name: str, values: Any, files: Iterable[Path]) -> Kept:
    """What is kept in the folder of `path` of a run with these settings and inputs, perhaps nothing yet.

    Args:
        path: an output of the run. name: how the folder is called, with a digest after it.
        values: of which any two that differ in `repr` are different runs.
        files: inputs, files or folders; told apart by path, sizes and times of change.
    """
    stamps = [
        (str(file), *_stamp(file)) for top in files for file in (sorted(top.rglob("*")) if top.is_dir() else [top])
    ]
    digest = hashlib.sha256(repr((values, stamps)).encode()).hexdigest()[:12]
    return Kept(path.parent / f".{name}.{digest}.kept")


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat() if path.exists() else path.lstat()  # of a link that leads nowhere, the link's own
    return status.st_size, status.st_mtime_ns
