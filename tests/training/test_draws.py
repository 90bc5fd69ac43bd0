"""Random numbers of a step: processes that share a batch get the rows of the batch that one process would draw."""

import pytest
import torch

from invdiff.training.draws import Draws, share


def everything(draw: Draws) -> list[torch.Tensor]:
    return [draw.uniform(-1, 2, 3), draw.normal(2, 5), draw.below(4), draw.strata()]


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_are_rows_of_the_whole(parts: int) -> None:
    whole = everything(Draws((7, 1), 8))
    for part in range(parts):
        rows = share(8, part, parts)
        for a, b in zip(everything(Draws((7, 1), 8, rows)), whole, strict=True):
            assert torch.equal(a, b[rows])


def test_steps_and_seeds_have_streams_of_their_own() -> None:
    drawn = [Draws(seed, 4).uniform(0, 1) for seed in ((0, 1), (0, 2), (1, 1), (0, 1, 1))]
    assert len({tuple(d.tolist()) for d in drawn}) == 4


def test_strata_hold_one_number_each() -> None:
    strata = Draws((0,), 16).strata()
    assert (strata * 16).floor().tolist() == list(range(16))


def test_ranges() -> None:
    draw = Draws((0,), 1000)
    u, k = draw.uniform(-1, 2), draw.below(3)
    assert -1 <= float(u.min()) < -0.9
    assert 1.9 < float(u.max()) < 2
    assert k.unique().tolist() == [0, 1, 2]


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="batch of 8 images does not divide into 3"):
        share(8, 0, 3)
