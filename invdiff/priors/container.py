"""A prior on disk: PATH.safetensors with the tensors and PATH.json with everything else, tied by a SHA-256."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from invdiff.files import write_whole


def existing(path: Path) -> list[Path]:
    """Those of the two files that are there."""
    return [file for file in (path, path.with_suffix(".json")) if file.exists()]


def write_pair(path: Path, tensors: dict[str, Tensor], content: dict[str, Any]) -> None:
    """Write both files, each whole or not at all; `sha256` is added to the content."""
    weights = save({name: t.contiguous() for name, t in tensors.items()})
    content = {"format": 1, **content, "sha256": hashlib.sha256(weights).hexdigest()}
    write_whole(path.with_suffix(".safetensors"), lambda partial: partial.write_bytes(weights))
    write_content(path, content)


def write_content(path: Path, content: dict[str, Any]) -> None:
    """Write the JSON part, whole or not at all."""
    described = json.dumps(content, indent=2) + "\n"
    write_whole(path.with_suffix(".json"), lambda partial: partial.write_bytes(described.encode()))


def read_content(path: Path) -> dict[str, Any]:
    """The JSON part.

    Raises:
        ValueError: one of the two files is missing, or the JSON file holds something else.
    """
    card = path.with_suffix(".json")
    for needed in (path, card):
        if not needed.exists():
            raise ValueError(f"{needed} does not exist; a prior is a .safetensors file with a .json of the same stem.")
    try:
        return dict(json.loads(card.read_text(encoding="utf8")))
    except (ValueError, TypeError) as error:
        raise not_a_prior(card, error) from error


def read_tensors(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """The tensors.

    Raises:
        ValueError: they are not those that the JSON file was written with, or no safetensors file.
    """
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path} ({len(data)} bytes) is truncated or altered: its SHA-256 is {found[:12]}..., its JSON file says "
            f"{str(sha256)[:12]}.... Fetch or save it again."
        )
    try:
        return load(data)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}.") from error


def not_a_prior(card: Path, error: Exception) -> ValueError:
    """What to say of a JSON file that lacks what it should hold."""
    return ValueError(f"{card} does not describe a prior: {error!r}. Save the prior anew, or restore the file.")


def as_tuple(value: Any) -> Any:
    """Tuples that JSON turned into lists."""
    return tuple(value) if isinstance(value, list) else value


def as_parts(t: Tensor) -> Tensor:
    """Complex tensors with real and imaginary parts on a last axis, real ones as they are."""
    return torch.view_as_real(t.resolve_conj()) if t.is_complex() else t


def from_parts(t: Tensor, axes: int) -> Tensor:
    """The tensor of that many axes that `as_parts` took apart, in single precision at least."""
    wide = t if t.dtype == torch.float64 else t.float()
    return torch.view_as_complex(wide.contiguous()) if t.ndim > axes else wide
