"""The sparse-view CT recipe: what the coarse grid misses counts as noise, and the table says what it measured."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import avg_pool2d

PATH = Path(__file__).parents[2] / "recipes" / "ct_sparse_view.py"
SPEC = importlib.util.spec_from_file_location("ct_sparse_view", PATH)
assert SPEC is not None
assert SPEC.loader is not None
recipe = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(recipe)


def misfit(matched: bool) -> tuple[float, float]:
    """Root mean square of (A x - p) / sigma and of sigma, for the coarse image x of a slab with a fine texture."""
    fine = torch.zeros(1, 1, 64, 64)
    fine[..., 16:48, 16:48] = 0.02 + 0.01 * torch.rand(32, 32, generator=torch.Generator().manual_seed(0))
    scan = recipe.Scan(12, photons=1e8)
    p, sigma, op = recipe.measured(fine, 1.5, scan, seed=0, matched=matched)
    residual = (op(avg_pool2d(fine, 2)) - p) / sigma
    return float(residual.square().mean().sqrt()), float(sigma.square().mean().sqrt())


def test_a_matched_scan_misses_the_image_by_the_photon_noise_alone() -> None:
    residual, sigma = misfit(matched=True)
    assert residual == pytest.approx(1, rel=0.15)  # 12 x 46 bins: 3 % of statistics, wide margin
    assert sigma < 1e-3


def test_a_real_scan_misses_it_by_the_model_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    residual, sigma = misfit(matched=False)
    assert sigma > recipe.MODEL_ERROR
    assert 0.2 < residual < 5  # the slab's texture is not a patient's
    monkeypatch.setattr(recipe, "MODEL_ERROR", 0.0)
    assert misfit(matched=False)[0] > 10  # photon noise alone does not explain it


def test_the_table_gives_means_and_spread() -> None:
    kinds = {"air": 1.0, "soft": -2.0, "bone": math.nan}
    rows = recipe.table({("20 views", "tv"): [(30.0, kinds), (32.0, kinds)]}).splitlines()
    assert rows[1].split() == ["20", "views", "tv", "31.00", "1.41", "1.0", "-2.0", "nan"]
    assert math.isnan(float(recipe.table({("20 views", "tv"): [(30.0, kinds)]}).splitlines()[1].split()[4]))


def test_a_kind_counts_only_where_nothing_else_is_beside_it() -> None:
    truth = torch.full((1, 1, 12, 12), -1000.0)
    truth[..., 4:8, 4:8] = 400.0  # 4 pixels have bone alone around them: too few
    image = truth + 7.0
    found = recipe.errors(truth, image)
    assert found["air"] == pytest.approx(7.0)
    assert math.isnan(found["bone"])
