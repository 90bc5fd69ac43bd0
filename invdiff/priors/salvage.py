"""Checkpoints opened as far as they can be without running anything: also those that `load_prior` refuses as unsafe."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file

from invdiff.priors.foreign import READERS, Foreign, open_foreign
from invdiff.priors.pickled_objects import Record
from invdiff.priors.restricted_pickle import read_inert


class Opened(NamedTuple):
    """A checkpoint and what was left out of it.

    Attributes:
        foreign: the checkpoint.
        container: what kind of file or folder it is.
        left_out: names of objects and functions that the file asks for and that were neither imported nor run.
    """

    foreign: Foreign
    container: str
    left_out: tuple[str, ...] = ()


def open_checkpoint(path: Path) -> Opened:
    """The checkpoint at `path`: a PyTorch file, a pickle, a safetensors file without our JSON, or a folder.

    Raises:
        ValueError: it does not exist, is truncated or altered, or has an ending that checkpoints do not have.
    """
    if path.is_dir():
        return Opened(open_foreign(path), "folder")
    if path.suffix == ".safetensors" and path.exists():
        try:
            return Opened(Foreign(path, load_file(path)), "safetensors")
        except SafetensorError as error:
            raise ValueError(f"{path} is truncated, altered or no safetensors file: {error}.") from error
    if path.exists() and path.suffix not in READERS:
        raise ValueError(f"{path} is no checkpoint; these end in .safetensors, {', '.join(READERS)}, or are folders.")
    container = "pickle" if path.suffix == ".pkl" else "PyTorch file"
    try:
        return Opened(open_foreign(path), container)
    except ValueError as refusal:
        if not path.exists():
            raise
        content, names = read_inert(path)
        if not isinstance(content, (Mapping, Record)):
            raise refusal from None
        return Opened(Foreign(path, content), container, tuple(names))
