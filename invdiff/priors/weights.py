"""Named tensors and the network they belong to: every name and every shape must agree, or nothing is loaded."""

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

SETS = ("ema", "model_ema", "ema_state_dict", "ema_model", "state_dict", "net", "model", "unet")
PREFIXES = ("module.", "_orig_mod.", "model.")

N = TypeVar("N", bound=nn.Module)


def state(content: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint: those averaged over training (EMA) first, without the prefixes of wrappers.

    Args:
        content: a mapping of names to tensors, or a mapping that holds one under one of `SETS`.

    Returns:
        name to tensor; empty where there is no such mapping.
    """
    if not isinstance(content, Mapping):
        return {}
    if content and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        return _stripped(dict(content))
    return next(filter(None, (state(content.get(name)) for name in SETS)), {})


def fill(net: N, tensors: Mapping[str, Tensor], source: str) -> N:
    """Put the tensors into net, in the precision of net's own; a net on the meta device comes to that of the tensors.

    Args:
        source: what the message calls the tensors.

    Raises:
        ValueError: names or shapes differ; says how many are missing, unexpected and mis-shaped, and the first of each.
    """
    wanted = net.state_dict()
    faults = {
        "missing": [k for k in wanted if k not in tensors],
        "unexpected": [k for k in tensors if k not in wanted],
        "mis-shaped": [
            f"{k} {tuple(tensors[k].shape)} for {tuple(v.shape)}"
            for k, v in wanted.items()
            if k in tensors and tensors[k].shape != v.shape
        ],
    }
    found = "; ".join(f"{len(names)} {fault}, first {names[0]}" for fault, names in faults.items() if names)
    if found:
        raise ValueError(f"{source} does not fit {type(net).__name__}: of {len(wanted)} tensors {found}.")
    net.load_state_dict({k: tensors[k].to(v.dtype, copy=True) for k, v in wanted.items()}, assign=True)
    return net


def _stripped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without any prefix that all names share."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _stripped({name.removeprefix(prefix): t for name, t in tensors.items()})
    return tensors
