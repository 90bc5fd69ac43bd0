"""Checkpoints of other programs, opened without running any code that they carry."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from invdiff.priors.prior import Prior
from invdiff.priors.restricted_pickle import read_pickle


class Foreign(NamedTuple):
    """A checkpoint that is not ours.

    Attributes:
        path: of a file or a folder.
        content: what the file holds, as its reader in `READERS` returned it; None for a folder.
    """

    path: Path
    content: Any


class Format(NamedTuple):
    """A kind of foreign checkpoint.

    Attributes:
        name: what messages call it.
        recognise: whether a `Foreign` is of this format; looks at names only.
        read: called as read(foreign, **options), with options what the file cannot tell; keyword-only in its signature,
            the last of them **declared for the arguments of `AdaptedPrior`, which take precedence over what was found.
    """

    name: str
    recognise: Callable[[Foreign], bool]
    read: Callable[..., Prior]


def open_foreign(path: Path) -> Foreign:
    """The checkpoint at `path`.

    Raises:
        ValueError: it does not exist, is truncated or altered, or can only be opened by running code that it carries.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist.")
    return Foreign(path, None if path.is_dir() else READERS[path.suffix](path))


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote: tensors and plain containers, nothing else (weights_only).

    Raises:
        ValueError: see `open_foreign`.
    """
    zipped = zipfile.is_zipfile(path)
    try:
        damaged = zipfile.ZipFile(path).testzip() if zipped else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickle protocols; what cannot be read raises
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and not damaged)
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except (OSError, RuntimeError, EOFError, LookupError, ValueError, zipfile.BadZipFile) as error:
        raise _broken(path) from error
    if damaged:
        raise _broken(path)
    return content


READERS: dict[str, Callable[[Path], Any]] = {
    ".pt": read_torch,
    ".pth": read_torch,
    ".ckpt": read_torch,
    ".bin": read_torch,
    ".pkl": read_pickle,
}


def _refused(path: Path, error: Exception) -> ValueError:
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    held = f"holds {named[1]}, which" if named else "holds something that"
    return ValueError(
        f"{path} {held} only running code could rebuild, and that is never done; if the file is whole, "
        f"`invdiff convert {path.name} {path.stem}.safetensors` takes out its tensors without running it."
    )


def _broken(path: Path) -> ValueError:
    return ValueError(
        f"{path} ({path.stat().st_size} bytes) is truncated, altered or no PyTorch file. Fetch or save it again."
    )
