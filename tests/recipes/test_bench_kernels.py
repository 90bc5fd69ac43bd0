"""The benchmark of the kernels runs where there is no device, and counts the bytes that its tensors hold."""

import sys
from argparse import Namespace
from types import ModuleType

import pytest
import torch

from tests.recipes.loading import recipe as loaded


@pytest.fixture
def recipe() -> ModuleType:
    return loaded("bench_kernels")


def test_bytes_are_those_of_the_tensors(recipe: ModuleType) -> None:
    cases = recipe.sense(Namespace(size=6, coils=3, batch=2), torch.device("cpu"))
    for case in cases[:2]:
        operands = [case.call(), *case.call.args]
        assert case.bytes == sum(t.numel() * t.element_size() for t in operands)
    expand, combine, points, lines = cases
    stack = 2 * 3 * 36 * 8
    assert points.bytes == lines.bytes == expand.bytes + combine.bytes + 2 * stack
    assert [len(case.transforms) for case in cases] == [0, 0, 2, 2]


def test_table_without_a_device(
    recipe: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(recipe, "CASES", (recipe.sense,))
    monkeypatch.setattr(
        sys, "argv", ["bench_kernels.py", "--rounds", "1", "--size", "8", "--coils", "2", "--batch", "1"]
    )
    recipe.main()
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("SENSE, 2 coils, 8 x 8, batch 1") for line in lines) == 4
    assert lines[-1] == "cuda: not run: no CUDA device"


@pytest.mark.cuda
def test_table_on_a_device(
    recipe: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_kernels.py", "--rounds", "1", "--devices", "cuda"])
    recipe.main()
    assert "Toeplitz, 8 coils" in capsys.readouterr().out
