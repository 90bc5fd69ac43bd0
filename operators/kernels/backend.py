"""Which kernels run: Triton on CUDA, numba on a CPU, plain torch anywhere.

The choice follows the device of the tensors and what is installed; `using` overrides it within a block, for tests and
benchmarks: Triton's interpreter (TRITON_INTERPRET=1 set before triton is first imported) runs its kernels on a CPU.
"""

import os
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

PREFERRED = {"cuda": ("triton", "torch"), "cpu": ("numba", "torch")}
BACKENDS = ("triton", "numba", "torch")
_chosen: ContextVar[str | None] = ContextVar("kernels", default=None)


def backend(device: torch.device, offered: Sequence[str]) -> str:
    """The kernels to use for tensors of this device, out of those offered for an operation.

    Raises:
        ValueError: `using` asks for kernels that this operation does not have.
    """
    chosen = _chosen.get()
    if chosen is not None:
        if chosen not in offered:
            raise ValueError(f"no {chosen} kernels for this operation, only {', '.join(offered)}.")
        return chosen
    preferred = PREFERRED.get(device.type, ("torch",))
    return next(name for name in preferred if name in offered and _ready(name))


@cache
def installed(name: str) -> bool:
    """Whether the package behind these kernels can be imported."""
    return find_spec(name) is not None


def _ready(name: str) -> bool:
    return installed(name) and (name != "triton" or launcher_builds())


@cache
def launcher_builds() -> bool:
    """Whether Triton can start kernels: it compiles its launcher with a C compiler and Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return compiler is not None and Path(sysconfig.get_paths()["include"], "Python.h").exists()


@contextmanager
def using(name: str) -> Iterator[None]:
    """Take these kernels within the block, whatever the device.

    Raises:
        ValueError: an unknown name. ImportError: its package is not installed.
    """
    if name not in BACKENDS:
        raise ValueError(f"kernels must be one of {', '.join(BACKENDS)}, got {name!r}.")
    if not installed(name):
        raise ImportError(f"the {name} kernels need the package {name}: pip install {name}.")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)
