"""Masks have the lines that were asked for, depend on their arguments alone, and know their calibration region."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invdiff.data.masks import achieved_acceleration, acs_lines, calibration_region, cartesian_mask, centred


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
