"""Pickles as the EDM code writes them: every module carries its Python source, which a plain unpickler runs."""

import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> object:
    """What the hook of the original does: run the source, then rebuild."""
    exec(meta["module_src"], {})
    return meta["class_name"]


class Persistent:
    """An object that is pickled with source."""

    def __init__(self, name: str, state: dict[str, Any], source: str) -> None:
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": name, "state": state}

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconstruct_persistent_obj, (self.meta,)


def hook() -> ModuleType:
    """The module that pickles name, for those who would run them."""
    package, module = ModuleType("torch_utils"), ModuleType("torch_utils.persistence")
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    sys.modules.update({"torch_utils": package, "torch_utils.persistence": module})
    return module


def persistent(net: nn.Module, source: str, name: str = "", **attributes: Any) -> Any:
    """The network with a persistent object for each of its modules; containers of torch stay what they are."""
    modules: dict[str, Any] = OrderedDict(
        (key, persistent(child, source)) for key, child in net._modules.items() if child is not None
    )
    if type(net) is nn.ModuleDict:
        container = nn.ModuleDict()
        container.__dict__["_modules"] = modules
        return container
    state = {"training": False, "_parameters": net._parameters, "_buffers": net._buffers, "_modules": modules}
    hidden = {"_non_persistent_buffers_set": net._non_persistent_buffers_set}
    return Persistent(name or type(net).__name__, {**state, **hidden, **attributes}, source)


def snapshot(net: nn.Module, source: str, precond: str = "EDMPrecond", **attributes: Any) -> dict[str, Any]:
    """What network-snapshot-*.pkl holds."""
    top = nn.Module()
    top.model = net
    settings = {"sigma_data": np.float64(0.7), "label_dim": 0, "_init_args": (), "_init_kwargs": {"use_fp16": False}}
    ema = persistent(top, source, precond, **{**settings, **attributes})
    ema.meta["state"]["_modules"]["model"].meta["class_name"] = type(net).__name__
    loss = Persistent("EDMLoss", {"P_mean": -1.2, "P_std": 1.2}, source)
    return {"ema": ema, "loss_fn": loss, "augment_pipe": None, "dataset_kwargs": {"resolution": np.int64(16)}}


def write_snapshot(path: Path, net: nn.Module, mark: Path, **options: Any) -> Path:
    """The snapshot as a file; whoever runs it creates the file `mark`."""
    hook()
    path.write_bytes(pickle.dumps(snapshot(net, f"open({str(mark)!r}, 'w').close()", **options)))
    return path


def weights(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network with random tensors, in evaluation."""
    generator = torch.Generator().manual_seed(seed)
    for p in net.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=generator)
    return net.eval().requires_grad_(False)
