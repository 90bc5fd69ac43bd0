"""Batches: functions of seed and step, shared by processes without a change."""

from dataclasses import replace

import pytest
import torch

from invdiff.training.batches import Batches, is_crop
from invdiff.training.config import Augment, Batch, Config, Data
from invdiff.training.slices import Slices
from tests.training.test_slices import Given
from tests.training.tiny import TINY, discs


@pytest.fixture(scope="module")
def found() -> Slices:
    return Slices(Given(list(discs(12)), ["a"] * 9 + ["b", "c", "c"]), TINY.data, 2**20)


def first(batches: Batches, step: int) -> list[torch.Tensor]:
    stream = batches.steps(step)
    parts = next(stream)
    stream.close()
    return [part.x0 for part in parts]


def test_full_images_and_crops_alternate(found: Slices) -> None:
    stream = Batches(found, TINY, 0).steps(1)
    full, crops = next(stream)[0], next(stream)[0]
    stream.close()
    assert (full.x0.shape, full.place.shape) == ((4, 2, 16, 16), (4, 2, 16, 16))
    assert (crops.x0.shape, crops.place.shape) == ((16, 2, 8, 8), (16, 2, 8, 8))
    assert float(crops.place.abs().max()) <= 1.5


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_crops_have_their_share_of_the_steps(share: float) -> None:
    assert sum(is_crop(step, share) for step in range(1, 101)) == round(100 * share)


@pytest.mark.parametrize("step", [1, 2])
def test_processes_and_parts_together_see_the_batch_of_one(found: Slices, step: int) -> None:
    whole = first(Batches(found, TINY, 5), step)[0]
    halves = replace(TINY, batch=replace(TINY.batch, accumulate=2))
    for rank in range(2):
        for part, x0 in enumerate(first(Batches(found, halves, 5, rank=rank, world=2), step)):
            torch.testing.assert_close(x0, whole[2 * rank + part :: 4], rtol=1e-6, atol=1e-6)


def test_steps_and_seeds_differ_and_repeat(found: Slices) -> None:
    a, again = (first(Batches(found, TINY, 5), 3)[0] for _ in range(2))
    assert torch.equal(a, again)
    assert not torch.equal(a, first(Batches(found, TINY, 6), 3)[0])
    assert not torch.equal(a, first(Batches(found, TINY, 5), 5)[0])


def test_a_batch_that_does_not_divide_is_refused(found: Slices) -> None:
    with pytest.raises(ValueError, match="does not divide into 3"):
        Batches(found, TINY, 0, world=3)


@pytest.mark.parametrize(("balance", "share"), [(0.0, 9 / 12), (0.5, 3 / (3 + 1 + 2**0.5)), (1.0, 1 / 3)])
def test_balance_weighs_subjects(found: Slices, balance: float, share: float) -> None:
    """Subject a has 9 of 12 slices; its share of the draws is 9 9^-balance over the sum."""
    config = replace(
        TINY, data=replace(TINY.data, balance=balance), batch=Batch(images=4000, size=16, crop_share=0.0, crop=16)
    )
    batches = Batches(found, config, 0)
    drawn = [found[i].sum() for i in range(9)]
    chosen = batches.choose(1)[0]
    seen = sum(any(bool(u.sum() == total) for total in drawn) for u in chosen) / len(chosen)
    assert seen == pytest.approx(share, abs=4 * 0.5 / 4000**0.5)  # four standard errors


def test_slices_of_unknown_subjects_weigh_alike() -> None:
    unknown = Slices(Given(list(discs(4)), [""] * 4), TINY.data, 2**20)
    config = replace(TINY, data=replace(TINY.data, balance=1.0))
    torch.testing.assert_close(Batches(unknown, config, 0)._edges, torch.tensor([0.25, 0.5, 0.75, 1.0]).double())


def test_a_window_gives_images_about_zero() -> None:
    config = Config(
        data=Data(channels="real", scaling="window", window=(0.0, 200.0)),
        augment=Augment(phase=False, gamma=0.0, bias=0.0, gain=(0.0, 0.0)),
        batch=Batch(images=4, size=16, crop=8),
    )
    x0 = first(Batches(Slices(Given(list(discs(6))), config.data, 2**20), config, 0), 1)[0]
    assert x0.shape == (4, 1, 16, 16)
    assert (float(x0.min()), float(x0.max())) == (-1.0, 1.0)
