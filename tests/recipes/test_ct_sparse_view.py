"""The sparse-view CT recipe: what the coarse grid misses counts as noise, and the table says what it measured."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import avg_pool2d

from tests.recipes.loading import recipe as loaded

recipe = loaded("ct_sparse_view")


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


def test_a_kind_counts_only_where_it_is_solid_and_large_enough() -> None:
    fine = torch.full((1, 1, 32, 32), -1000.0)
    fine[..., 8:24, 8:24] = 400.0  # 8 x 8 coarse pixels of bone, of which 6 x 6 have bone alone around them
    image = avg_pool2d(fine, 2) + 7.0
    found = recipe.errors(fine, image)
    assert found["air"] == pytest.approx(7.0)
    assert found["bone"] == pytest.approx(7.0)
    fine[..., 12, 12] = 0.0  # a hole, finer than a coarse pixel, spoils the nine around it
    assert int(recipe.kinds(fine)["bone"].sum()) == 27
    assert math.isnan(recipe.errors(fine, image)["bone"])


def test_rods_are_where_they_are_measured() -> None:
    ((fine, pixel),) = recipe.drawn()
    x = recipe.with_rods(fine, pixel)
    image = recipe.mu_to_hu(avg_pool2d(x, 2))
    for error in recipe.rod_errors(fine, pixel, image).values():
        assert abs(error) < 1e-2  # float32
    for name, distance in recipe.rods(fine, pixel).items():
        area = float((distance < recipe.ROD / 2).sum()) * pixel**2
        assert area == pytest.approx(math.pi * recipe.ROD**2 / 4, rel=0.03)
        shifted = image.roll(6, -1)  # 17 mm
        assert abs(recipe.rod_errors(fine, pixel, shifted)[name]) > 20
    apart = list(recipe.rods(fine, pixel).values())
    assert min(float((a + b).min()) for i, a in enumerate(apart) for b in apart[:i]) > recipe.ROD


@pytest.mark.parametrize(("name", "scans"), [("ct_limited_angle", ["90", "150"]), ("ct_low_dose", ["1000", "100000"])])
def test_the_other_recipes_run_on_the_drawn_body(
    name: str, scans: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = loaded(name)
    chosen = [scan for scan in other.SCANS if scan.split()[0] in scans]
    command = [name, "--scans", *chosen, "--methods", "fbp", "--out", str(tmp_path / "images.png")]
    monkeypatch.setattr(sys, "argv", command)
    other.main(other.SCANS, other.__doc__)
    rows = [line for line in capsys.readouterr().out.splitlines() if " fbp  " in line]
    worst, best = (float(row.split()[3]) for row in rows)
    assert best > worst + 2  # dB: more angles, more photons
    assert (tmp_path / "images.png").stat().st_size > 10_000
