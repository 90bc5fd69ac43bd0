"""Noise grids against the formulas they come from."""

import math

import pytest
import torch

from invdiff.diffusion.schedule import karras, levels, vp_linear


def test_vp_linear_hits_known_levels_of_the_ddpm_schedule() -> None:
    sigmas = vp_linear(1000, 0.01, 157.4)
    # sqrt((1 - abar) / abar) at t = 999, 950, 400, 100, 0; the references are rounded to three digits
    for t, known in ((999, 157.0), (950, 97.0), (400, 2.04), (100, 0.342), (0, 0.01)):
        assert float(sigmas[999 - t]) == pytest.approx(known, rel=5e-3)


def test_vp_linear_is_equally_spaced_in_time() -> None:
    fine, coarse = vp_linear(1000, 0.01, 157.4), vp_linear(4, 0.01, 157.4)
    torch.testing.assert_close(coarse, fine[[0, 333, 666, 999]])


@pytest.mark.parametrize("grid", [karras, vp_linear])
def test_grids_decrease_between_their_ends(grid) -> None:
    sigmas = grid(12, 0.02, 8.0)
    assert sigmas.dtype == torch.float64
    assert bool((sigmas.diff() < 0).all())
    assert math.isclose(float(sigmas[0]), 8.0, rel_tol=1e-6)
    assert math.isclose(float(sigmas[-1]), 0.02, rel_tol=1e-6)


@pytest.mark.parametrize("grid", [karras, vp_linear])
def test_one_step_starts_at_the_highest_level(grid) -> None:
    assert float(grid(1, 0.02, 8.0)[0]) == pytest.approx(8.0, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "word"), [((0, 0.1, 1.0), "steps"), ((5, -1.0, 1.0), "sigma_min"), ((5, 2.0, 1.0), "sigma_max")]
)
@pytest.mark.parametrize("grid", [karras, vp_linear])
def test_bad_grids_are_refused_by_name(grid, arguments, word) -> None:
    with pytest.raises(ValueError, match=word):
        grid(*arguments)


def test_levels_end_at_zero_and_know_their_names() -> None:
    assert levels("vp", 3, 0.02, 8.0) == [*vp_linear(3, 0.02, 8.0).tolist(), 0.0]
    assert sum(s < 0.34 for s in levels("karras", 50, 0.01, 10.0)[:-1]) == 20
    assert sum(s < 0.34 for s in levels("vp", 50, 0.01, 10.0)[:-1]) == 8
    with pytest.raises(ValueError, match="karras"):
        levels("karas", 3, 0.02, 8.0)
