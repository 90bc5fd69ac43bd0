"""Masks have the lines that were asked for, depend on their arguments alone, and know their calibration region."""

import hashlib
import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invdiff.data.masks import achieved_acceleration, acs_lines, calibration_region, cartesian_mask, centred
from invdiff.data.masks_fastmri import fastmri_mask
from invdiff.data.masks_points import poisson_mask, radial_mask, spiral_mask


@given(n=st.integers(16, 400), acceleration=st.floats(1.5, 8), share=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_numbers_of_lines(n: int, acceleration: float, share: float, seed: int) -> None:
    acs = int(share * n / acceleration)
    random = cartesian_mask(n, acceleration, acs, "random", seed)
    assert random.dtype == torch.bool
    assert random.shape == (n,)
    assert int(random.sum()) == max(round(n / acceleration), acs)
    equispaced = cartesian_mask(n, acceleration, acs, "equispaced", seed)
    # the grid meets the centre block in one line more or less than on average, at each end
    assert abs(int(equispaced.sum()) - n / acceleration) <= 2.5
    for mask in (random, equispaced):
        assert bool(mask[centred(n, acs)].all())


def test_equispaced_lines_are_evenly_spaced() -> None:
    lines = torch.nonzero(cartesian_mask(320, 4, 0, "equispaced", 3))[:, 0]
    assert set(lines.diff().tolist()) == {4}


def test_masks_depend_on_their_arguments_alone() -> None:
    before = torch.get_rng_state()
    a, b = cartesian_mask(200, 4, 16, seed=0), cartesian_mask((1, 64, 200), 4, 16, seed=0)
    assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(a, cartesian_mask(200, 4, 16, seed=1))
    assert bool(cartesian_mask(33, 1, 8).all())
    assert achieved_acceleration(a) == 4.0


def test_random_lines_are_uniform_outside_the_centre() -> None:
    n, acs, draws = 60, 10, 400
    rate = torch.stack([cartesian_mask(n, 3, acs, seed=s) for s in range(draws)]).double().mean(0)
    outer = torch.cat([rate[: centred(n, acs).start], rate[centred(n, acs).stop :]])
    # binomial with p = 10 / 50: standard deviation 0.02 of 400 draws, five of them
    assert float((outer - 0.2).abs().max()) < 0.1
    assert bool((rate[centred(n, acs)] == 1).all())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((100, 4, 25), r"acs=25 leaves no other line: acceleration 4 of 100 lines allows 25"),
        ((100, 8, 30), "acs=30 .* acceleration 8"),
        ((100, 0.5, 8), "between 1 and the width 100, got 0.5"),
        ((100, 101, 0), "between 1 and the width 100, got 101"),
        ((100, float("nan"), 0), "between 1 and the width"),
        ((100, 2, 101), "acs must lie between 0 and the width 100, got 101"),
        ((100, 2, -1), "acs must lie"),
        ((100, 2, 8, "magic"), "'random' or 'equispaced', got 'magic'"),
    ],
)
def test_infeasible_numbers_are_named(arguments: tuple[int, float, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        cartesian_mask(*arguments)


@pytest.mark.parametrize("n", [32, 33])
@pytest.mark.parametrize("acs", [1, 6, 7])
def test_acs_lines_finds_the_centre_block(n: int, acs: int) -> None:
    mask = torch.zeros(n)
    mask[centred(n, acs)] = 1
    mask[0] = 1
    assert acs_lines(mask) == centred(n, acs)
    assert calibration_region(mask, (20, n)) == (slice(0, 20), centred(n, acs))
    assert calibration_region(mask.expand(20, n), (20, n)) == (slice(0, 20), centred(n, acs))


@pytest.mark.parametrize("size", [(12, 12), (12, 7), (7, 12), (20, 5)])
def test_calibration_region_of_points(size: tuple[int, int]) -> None:
    mask = torch.rand(41, 30, generator=torch.Generator().manual_seed(0)) < 0.1
    wanted = centred(41, size[0]), centred(30, size[1])
    mask[wanted] = True
    rows, columns = calibration_region(mask, (41, 30))
    assert bool(mask[rows, columns].all())
    assert rows.stop - rows.start >= size[0]
    assert columns.stop - columns.start >= size[1]


def test_masks_without_a_centre() -> None:
    lines = torch.ones(8)
    lines[4] = 0
    with pytest.raises(ValueError, match="centre line 4 is not sampled"):
        acs_lines(lines)
    with pytest.raises(ValueError, match=r"centre \(3, 4\) is not sampled"):
        calibration_region(lines.expand(6, 8), (6, 8))
    with pytest.raises(ValueError, match="must be"):
        calibration_region(lines, (8, 9))
    with pytest.raises(ValueError, match="all zero"):
        achieved_acceleration(torch.zeros(4))


PUBLISHED = json.loads((Path(__file__).parent / "fastmri_masks.json").read_text())


def digest(mask: torch.Tensor, lines: int) -> str:
    content = mask.numpy().astype(np.uint8).tobytes() + bytes([lines])
    return hashlib.sha256(content).hexdigest()[:16]


def test_nine_hundred_masks_are_the_published_ones() -> None:
    cases = list(product(*(PUBLISHED[key] for key in ("kinds", "widths", "settings", "names"))))
    found = [digest(*fastmri_mask(w, *setting, kind, seed=name)) for kind, w, setting, name in cases]
    assert len(cases) == len(PUBLISHED["masks"]) == 900
    wrong = [case for case, a, b in zip(cases, found, PUBLISHED["masks"], strict=True) if a != b]
    assert wrong == []


def test_masks_with_an_offset_are_the_published_ones() -> None:
    cases = product(PUBLISHED["kinds"], (33, 320, 372), range(4))
    setting = PUBLISHED["settings"][-1]
    found = [digest(*fastmri_mask(w, *setting, kind, seed=7, offset=o)) for kind, w, o in cases]
    assert found == PUBLISHED["offset_masks"]


def test_the_table_sees_one_line_moved_and_one_draw_left_out() -> None:
    mask, lines = fastmri_mask(320, 4, 0.08, seed="file1000000.h5")
    assert digest(mask, lines) in PUBLISHED["masks"]
    assert digest(mask.roll(1), lines) not in PUBLISHED["masks"]
    rng = np.random.RandomState(list(map(ord, "file1000000.h5")))
    uniform = rng.uniform(size=320)  # without the draw among one pair before it
    assert not np.array_equal(uniform < (80 - 26) / (320 - 26), mask.numpy())


def test_fastmri_masks_leave_global_generators_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fastmri_mask(320, 4, 0.08, seed="a.h5")
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_padded_columns_are_cleared() -> None:
    mask, _ = fastmri_mask(368, 4, 0.08, seed="a.h5")
    padded, _ = fastmri_mask(368, 4, 0.08, seed="a.h5", padding=(24, 346))
    assert not bool(padded[:24].any() | padded[346:].any())
    assert torch.equal(padded[24:346], mask[24:346])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((320, 4, 0.3), "96 centre lines of 320 leave no other line at acceleration 4, which allows 80"),
        ((320, 4, 0.3, "equispaced_fraction"), "96 centre lines"),
        ((320, 4, 0.3, "magic_fraction"), "80 centre lines"),
        ((320, 4.5, 0.04, "equispaced"), "whole acceleration, got 4.5"),
        ((320, [4, 8], [0.08]), "2 accelerations and 1 fractions"),
        ((320, 4, 0.08, "magik"), "Did you mean 'magic'"),
        ((320, 0, 0.08), "between 1 and the width 320, got 0"),
        ((320, 4, 1.2), "between 0 and 1, got 1.2"),
    ],
)
def test_infeasible_fastmri_masks_name_their_numbers(arguments: tuple[Any, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fastmri_mask(*arguments, seed=0)


@pytest.mark.parametrize("shape", [(48, 40), (33, 21)])
@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_poisson_points_keep_their_distance_and_number(shape: tuple[int, int], slope: float) -> None:
    mask = poisson_mask(shape, 6, calibration=4, slope=slope, seed=1)
    assert int(mask.sum()) == round(shape[0] * shape[1] / 6)
    assert bool(mask[centred(shape[0], 4), centred(shape[1], 4)].all())
    assert torch.equal(mask, poisson_mask(shape, 6, calibration=4, slope=slope, seed=1))
    assert not torch.equal(mask, poisson_mask(shape, 6, calibration=4, slope=slope, seed=2))
    nearest, radius = distances(mask)
    assert float(nearest[radius >= 0.5].min()) > 1
    scattered = distances(torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 1 / 6)
    assert float(scattered[0][scattered[1] >= 0.5].min()) == 1  # of points thrown at random, neighbours touch
    inner, outer = nearest[radius < 0.5].mean(), nearest[radius >= 0.5].mean()
    assert (float(outer) > 1.3 * float(inner)) == (slope > 0)


def distances(mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance to the nearest other sampled point, and radius, of the points outside the middle."""
    h, w = mask.shape
    points = torch.nonzero(mask).double()
    radius = ((points - torch.tensor([h // 2, w // 2])) / torch.tensor([h / 2, w / 2])).norm(dim=1)
    gap = torch.cdist(points, points).fill_diagonal_(math.inf).min(1).values
    outside = ((points - torch.tensor([h // 2, w // 2])).abs() > 3).any(1)
    return gap[outside], radius[outside]


def test_poisson_corners() -> None:
    shape = (32, 32)
    assert not bool(poisson_mask(shape, 4, 4)[0, 0] | poisson_mask(shape, 4, 4)[:3, :3].any())
    assert bool(torch.stack([poisson_mask(shape, 2, 4, corners=True, seed=s)[:3, :3] for s in range(3)]).any())
    with pytest.raises(ValueError, match="corners=True"):
        poisson_mask(shape, 1.05, 4)
    with pytest.raises(ValueError, match=r"calibration block has 256 points, acceleration 8 .* allows 128"):
        poisson_mask(shape, 8, 16)
    with pytest.raises(ValueError, match="does not fit"):
        poisson_mask(shape, 8, (40, 2))


@pytest.mark.parametrize("shape", [(32, 32), (33, 21)])
def test_trajectories_on_the_grid(shape: tuple[int, int]) -> None:
    h, w = shape
    one = radial_mask(shape, 1)
    assert bool(one[h // 2].all())
    assert int(one.sum()) == w
    rates = [achieved_acceleration(radial_mask(shape, n)) for n in (2, 4, 8, 16)]
    assert rates == sorted(rates, reverse=True)
    cross = radial_mask(shape, 2, golden=False)
    assert bool(cross[h // 2].all() & cross[:, w // 2].all())
    spiral = spiral_mask(shape, 1, 3)
    assert bool(spiral[h // 2, w // 2])
    assert int(spiral[h // 2, w // 2 :].sum()) < w // 2 - 2  # gaps between the turns
    assert int(spiral_mask(shape, 6, 3).sum()) > 2 * int(spiral.sum())
    middle = centred(64, 32), centred(64, 32)
    dense, even = (spiral_mask((64, 64), 1, 6, density=d) for d in (2, 1))
    assert float(dense[middle].sum() / dense.sum()) > 1.2 * float(even[middle].sum() / even.sum())
    for bad in (lambda: radial_mask(shape, 0), lambda: spiral_mask(shape, 0, 1), lambda: spiral_mask(shape, 1, 0)):
        with pytest.raises(ValueError, match="must be"):
            bad()
