"""The matrix of methods and operators runs, counts refusals, and fails a method that is worse than the adjoint."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

import invdiff
from invdiff.solvers import METHODS, Method
from tests.recipes.loading import recipe as loaded


@pytest.fixture
def matrix() -> ModuleType:
    return loaded("matrix")


def run(matrix: ModuleType, monkeypatch: pytest.MonkeyPatch, methods: list[str], operators: list[str]) -> int:
    monkeypatch.setattr(sys, "argv", ["matrix.py", "--methods", *methods, "--operators", *operators])
    return int(matrix.main())


def test_cells_run_or_are_refused(
    matrix: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    operators = ["box inpainting, 13x17", "MRI, 3 coils", "CT, parallel", "magnitude MRI"]
    assert run(matrix, monkeypatch, ["tv", "fbp", "dc-pnp", "ddrm"], operators) == 0
    out = capsys.readouterr().out
    assert "8 cells ran, 8 were refused, 0 have a star" in out
    assert "3 x fbp does not work behind Inpainting" in out


def test_a_method_that_ignores_the_data_fails(
    matrix: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bad(y: Any, op: Any, prior: Any, *, noise: Any, callback: Any) -> Any:
        x = noise.like(torch.zeros(len(y), *op.shape_in))
        callback(0, 1, x=x)
        return x

    monkeypatch.setitem(METHODS, "tv", Method(bad, "noise"))
    assert run(matrix, monkeypatch, ["tv"], ["denoising"]) == 1
    assert "*" in capsys.readouterr().out


def test_a_late_refusal_is_no_refusal(matrix: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(y: Any, op: Any, prior: Any, *, noise: Any, callback: Any) -> Any:
        callback(0, 1, x=torch.zeros(len(y), *op.shape_in))
        raise ValueError("too late")

    monkeypatch.setitem(METHODS, "tv", Method(late, "late"))
    with pytest.raises(ValueError, match="too late"):
        run(matrix, monkeypatch, ["tv"], ["denoising"])


def test_every_method_has_settings_or_defaults(matrix: ModuleType) -> None:
    assert set(matrix.SHORT) <= set(invdiff.METHODS)
    assert len(matrix.OPERATORS) >= 16
