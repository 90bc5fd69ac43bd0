"""A fit on disk: all that its next iteration depends on, in one .safetensors file that appears whole or not at all.

    parameters, Adam's moments, z, last output, averaged image, stop rule, random streams, curves, iterations done

A later run with the same arguments goes on from there to the bit; the fit of another scan can begin with its network.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from invdiff.files import write_whole
from invdiff.operators.base import Operator
from invdiff.solvers.stopping import Stop

FORMAT = "fit 1"
SECONDS = 30.0  # between writings

Identity = dict[str, str]


class Checkpoint:
    """The file of one fit, or, without a path, nothing.

    Args:
        path: ends in .safetensors, in a folder that exists.
        identity: digests of what the fit is of, by what a person calls it.
    """

    def __init__(self, path: str | Path | None, identity: Identity) -> None:
        self.path, self.identity = None if path is None else check_path(path), identity
        self.written = time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """What was written last; None where nothing was.

        Raises:
            ValueError: no file of a fit, or one of another fit; says in what they differ.
        """
        if self.path is None or not self.path.exists():
            return None
        content, identity = read_fit(self.path)
        others = [name for name, digest in self.identity.items() if identity.get(name) != digest]
        if others:
            raise ValueError(
                f"{self.path} belongs to another fit; what differs: {', '.join(others)}. "
                "Give the arguments it was begun with, or another file; to begin from its network, pass it as warm."
            )
        return content

    def write(self, content: Callable[[], Mapping[str, Any]], last: bool = False) -> None:
        """Write the content where it is time to, or the fit is over."""
        if self.path is None or not (last or time.monotonic() - self.written >= SECONDS):
            return
        tensors: dict[str, Tensor] = {}
        record = {"kind": FORMAT, "identity": json.dumps(self.identity)}
        record["content"] = json.dumps(_packed(content(), "fit", tensors))
        write_whole(self.path, lambda partial: save_file(tensors, partial, record))
        self.written = time.monotonic()


def check_path(path: str | Path) -> Path:
    """Refuse a path that cannot be a checkpoint, before any work is done for it."""
    path = Path(path)
    if path.suffix != ".safetensors" or not path.parent.is_dir():
        raise ValueError(f"a checkpoint is a .safetensors file in a folder that exists, got {path}.")
    return path


def check_run(path: str | Path | None, seed: object, runs: int) -> None:
    """Refuse a checkpoint that the same call could not go on with, or that several fits would write to.

    Raises:
        ValueError: no seed; more than one fit after the other.
    """
    if path is None:
        return
    if seed is None:
        raise ValueError("a checkpoint needs a seed, with which the same call goes on later. Pass seed=0, for example.")
    if runs > 1:
        raise ValueError(
            f"a checkpoint holds one fit; {runs} samples behind an operator with tensors of each item are as many. "
            "Run them one by one, with num_samples=1 and a seed and a file for each."
        )


def read_fit(path: str | Path) -> tuple[dict[str, Any], Identity]:
    """The content of a file that `Checkpoint.write` wrote, on the CPU, and the identity of its fit.

    Raises:
        ValueError: no such file, damaged, or of another kind.
    """
    try:
        with safe_open(str(path), "pt") as file:
            record, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a fit: {error}. Give a file that checkpoint= wrote.") from error
    if record.get("kind") != FORMAT:
        raise ValueError(f"{path} does not hold a fit of this version. Give a file that checkpoint= wrote.")
    return _unpacked(json.loads(record["content"]), tensors), json.loads(record["identity"])


def digest(*values: Any) -> str:
    """A SHA-256 of tensors, numbers, words, and lists, dictionaries and stop rules of them."""
    tensors: dict[str, Tensor] = {}
    total = hashlib.sha256(json.dumps(_packed(values, "", tensors)).encode())
    for tensor in tensors.values():
        total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def of_operator(op: Operator) -> str:
    """A SHA-256 of what an operator does."""
    return digest(op.name, op.shape_in, op.shape_out, dict(op.named_buffers()))


def restore_adam(adam: torch.optim.Adam, moments: Mapping[str, Any]) -> None:
    """Put the moments back; `moments` is what `read_fit` has in place of the optimiser's "state"."""
    state = {int(k): values for k, values in moments.items()}
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})


def restore(stop: Stop, saved: Mapping[str, Any], device: torch.device) -> None:
    """Put a stop rule back to where it was; `saved` is what `read_fit` has in its place."""
    for name, value in saved.items():
        now = vars(stop).get(name)
        if isinstance(now, deque):
            vars(stop)[name] = deque((image.to(device) for image in value), now.maxlen)
        elif isinstance(value, list):
            for rule, state in zip(now or (), value, strict=True):
                restore(rule, state, device)
        else:
            vars(stop)[name] = value.to(device) if isinstance(value, Tensor) else value


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """What JSON can hold of a value; its tensors are put aside by name."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Stop):
        return _packed(vars(value), name, tensors)
    if isinstance(value, Mapping):
        return {"items": {str(k): _packed(v, f"{name}/{k}", tensors) for k, v in value.items()}}
    if isinstance(value, (list, tuple, deque)):
        return [_packed(v, f"{name}/{k}", tensors) for k, v in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a fit with {type(value).__name__} in its state ({name}) cannot be stored.")


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(v, tensors) for v in value]
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]]
    if isinstance(value, dict):
        return {k: _unpacked(v, tensors) for k, v in value["items"].items()}
    return value
