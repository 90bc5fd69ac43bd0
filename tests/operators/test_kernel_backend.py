"""Which kernels run where, and what a block may override."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from invdiff.operators.kernels import backend as module
from invdiff.operators.kernels.backend import backend, using

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What is kept of the machine is found again, before and after."""
    forget()
    yield
    forget()


def forget() -> None:
    module.installed.cache_clear()
    module.launcher_builds.cache_clear()


def test_the_device_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setattr(module, "launcher_builds", lambda: True)
    assert backend(CPU, ("triton", "numba", "torch")) == "numba"
    assert backend(CPU, ("triton", "torch")) == "torch"
    assert backend(CUDA, ("triton", "numba", "torch")) == "triton"
    assert backend(CUDA, ("torch",)) == "torch"
    assert backend(torch.device("meta"), ("triton", "torch")) == "torch"


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: object() if name == "torch" else None)
    assert backend(CPU, ("numba", "torch")) == backend(CUDA, ("triton", "torch")) == "torch"
    with pytest.raises(ImportError, match="pip install triton"), using("triton"):
        pass


@pytest.mark.parametrize("lacks", ["compiler", "headers"])
def test_triton_without_what_builds_its_launcher(lacks: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Machines with a device and nothing to compile with take plain torch, as they did before."""
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setenv("CC", "cc")
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(module.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert backend(CUDA, ("triton", "torch")) == "triton"
    forget()
    if lacks == "compiler":
        monkeypatch.delenv("CC")
        monkeypatch.setenv("PATH", "")
    else:
        (tmp_path / "Python.h").unlink()
    assert backend(CUDA, ("triton", "torch")) == "torch"


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")
def test_a_block_overrides_the_device() -> None:
    with using("triton"):
        assert backend(CPU, ("triton", "torch")) == "triton"
        with using("torch"):
            assert backend(CPU, ("triton", "torch")) == "torch"
        with pytest.raises(ValueError, match="no triton kernels for this operation, only numba, torch"):
            backend(CPU, ("numba", "torch"))
    assert backend(CPU, ("triton", "torch")) == "torch"
    with pytest.raises(ValueError, match="kernels must be one of triton, numba, torch, got 'cuda'"), using("cuda"):
        pass
