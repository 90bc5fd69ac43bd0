"""Pictures of a training: every noise level and every sample has its panel, on a scale that fits the images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from invdiff.plotting import Panel
from invdiff.priors.gaussian import GaussianPrior
from invdiff.training import pictures
from invdiff.training.validate import Held


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Panel]:
    """What would be drawn."""
    seen: list[Panel] = []
    monkeypatch.setattr(pictures, "gallery", lambda found, columns: seen.extend(found))
    monkeypatch.setattr(pictures, "save_figure", lambda *arguments: None)
    return seen


def gaussian(**about: Any) -> GaussianPrior:
    prior = GaussianPrior.stationary(torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.04))
    return prior.describe(sigma_max=10.0, range=(-1.0, 1.0), **about)


def test_a_strip_holds_noisy_and_denoised_images(panels: list[Panel]) -> None:
    held = Held(0.2 * torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.ones(3, 1, 8, 8))
    pictures.denoising_strip(Path("x.png"), held, gaussian(), (0.1, 1.0))
    assert [p.title for p in panels] == ["held out", "sigma 0.1", "sigma 1", "", "", ""]
    np.testing.assert_allclose(panels[2].image, (held.images[1, 0] + 1.0).abs().numpy(), rtol=1e-6)
    assert panels[4].caption.endswith(" dB")
    assert float(panels[4].caption.split()[0]) > float(panels[5].caption.split()[0])


def test_samples_are_fixed_and_on_the_scale_of_the_window(panels: list[Panel]) -> None:
    for _ in range(2):
        pictures.sample_grid(Path("x.png"), gaussian(window=(0.0, 0.04)), 8, torch.device("cpu"))
    first, second = panels[: len(panels) // 2], panels[len(panels) // 2 :]
    assert len(first) == pictures.SAMPLES
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert float(a.image.min()) >= 0
        assert float(a.image.mean()) == pytest.approx(1.0, abs=0.2)  # 0 lies in the middle of the range
