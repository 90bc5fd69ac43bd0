"""The accuracy table holds at a small size, and sees a coarser model, a shifted sinogram and a wrong transpose."""

from types import ModuleType

import pytest
import torch
from torch import Tensor

from invdiff.operators import ParallelBeamCT
from tests.recipes.loading import recipe as loaded


@pytest.fixture
def recipe() -> ModuleType:
    return loaded("ct_accuracy")


def test_errors_of_a_small_image(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "VIEWS", 24)
    assert recipe.ellipse_error(128, 1.0) < 0.012  # halves with the pixels: the bars are for 256 and 512
    assert recipe.ripple(128, 2.0) < 0.02  # 0.5 % with 90 views
    assert recipe.mismatch(64, torch.float64) < 1e-12
    ours, theirs = recipe.backprojection_errors(63, 90)
    assert ours <= theirs * (1 + 1e-9)


def test_faults_show(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "VIEWS", 24)
    fine = recipe.ellipse_error(128, 1.0)

    class Faulty(ParallelBeamCT):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).roll(1, -1)

    monkeypatch.setattr(recipe, "ParallelBeamCT", Faulty)
    assert recipe.ellipse_error(128, 1.0) > 5 * fine
    assert recipe.mismatch(64, torch.float64) > 1e-4


def test_a_machine_without_a_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "not run, no device" in loaded("bench_ct").device_times(1)
