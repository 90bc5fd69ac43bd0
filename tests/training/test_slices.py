"""Slices in memory are as small as they may be and give the numbers of the file; those beyond the limit do too."""

from typing import Any

import numpy as np
import pytest
import torch

from invdiff.training.config import Data
from invdiff.training.slices import Slices, compact, expand, spread
from tests.training.tiny import discs

REAL, WINDOW = Data(channels="real"), Data(channels="real", scaling="window")


class Given:
    """Images from a list, all of one subject unless told otherwise."""

    def __init__(self, images: list[Any], subjects: list[str] | None = None) -> None:
        self.images, self.subjects = images, subjects or ["a"] * len(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Any:
        return self.images[i]


@pytest.mark.parametrize(("low", "high", "dtype"), [(0, 255, np.uint8), (-1024, 3071, np.int16), (0, 60000, np.uint16)])
def test_whole_numbers_stay_exact_in_their_smallest_type(low: int, high: int, dtype: type) -> None:
    v = np.random.default_rng(0).integers(low, high, (1, 8, 8), endpoint=True).astype(np.float32)
    v[0, 0, :2] = low, high
    small = compact(v, -1000.0, 7.0)
    assert small.dtype == dtype
    np.testing.assert_array_equal(expand(small, -1000.0, 7.0), ((v + 1000) / np.float32(7)).astype(np.float32))


def test_fractions_are_kept_in_half_precision() -> None:
    v = np.random.default_rng(0).uniform(0, 3, (1, 8, 8)).astype(np.float32)
    small = compact(v, 0.0, 2.0)
    assert small.dtype == np.float16
    np.testing.assert_allclose(expand(small, 0.0, 2.0), v / 2, rtol=5e-4, atol=1e-7)  # 11 bits
    assert compact(v * 1e6, 0.0, 2.0).dtype == np.float32  # beyond the range of half precision


def test_the_percentile_of_each_magnitude_becomes_one() -> None:
    images = [scale * np.random.default_rng(0).uniform(0, 1, (9, 7)).astype(np.float32) for scale in (1.0, 50.0)]
    for u in Slices(Given(images), REAL, 2**20):
        assert float(np.percentile(u.numpy(), 99.5)) == pytest.approx(1.0, rel=1e-3)  # half precision


def test_a_window_puts_its_low_end_at_zero_and_clips_below_only() -> None:
    image = np.array([[-1024.0, -1000.0], [0.0, 3071.0]], np.float32)
    (u,) = Slices(Given([image]), WINDOW, 2**20)
    torch.testing.assert_close(u, torch.tensor([[[0.0, 0.0], [1.0, 4.071]]]))


def test_complex_slices_are_two_planes_or_a_magnitude() -> None:
    image = np.array([[3 + 4j, 1], [0, 2j]], np.complex64)
    (u,) = Slices(Given([image]), Data(percentile=100), 2**20)
    torch.testing.assert_close(u, torch.tensor([[[0.6, 0.2], [0, 0]], [[0.8, 0], [0, 0.4]]]), rtol=5e-4, atol=0)
    (u,) = Slices(Given([image]), Data(percentile=100, channels="real"), 2**20)
    torch.testing.assert_close(u, torch.tensor([[[1, 0.2], [0, 0.4]]]), rtol=5e-4, atol=0)


def test_a_memory_limit_changes_no_number() -> None:
    rng = np.random.default_rng(0)
    images = [*discs(4).astype(np.float32), *rng.uniform(0, 1, (4, 16, 16)).astype(np.float32)]
    whole, half, none = (Slices(Given(images), REAL, memory) for memory in (2**20, 3000, 0))
    assert (whole.n_kept, half.n_kept, none.n_kept) == (8, 2, 0)
    for a, b, c in zip(whole, half, none, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_slices_without_content_are_left_out_and_counted() -> None:
    blank = np.zeros((32, 32), np.float32)
    found = Slices(Given([blank, *discs(2), blank + 3], list("abcd")), REAL, 2**20)
    assert (len(found), found.n_empty, found.subjects) == (2, 2, ["b", "c"])
    with pytest.raises(ValueError, match="all 2 slices are without content"):
        Slices(Given([blank, blank]), REAL, 2**20)


def test_values_below_zero_are_no_magnitude() -> None:
    with pytest.raises(ValueError, match="slice 1 holds values below 0"):
        Slices(Given([discs(1)[0], -discs(1)[0].astype(np.float32)]), REAL, 2**20)


def test_the_fingerprint_sees_another_slice_and_another_subject() -> None:
    a = Slices(Given(list(discs(3))), REAL, 2**20).fingerprint()
    assert a == Slices(Given(list(discs(3))), REAL, 0).fingerprint()
    images = list(discs(3))
    images[2] = np.flipud(images[2])  # with the same scale
    assert a != Slices(Given(images), REAL, 0).fingerprint()
    assert a != Slices(Given(list(discs(3)), list("abb")), REAL, 0).fingerprint()


def test_spread_takes_both_ends() -> None:
    found = Slices(Given(list(discs(9))), REAL, 2**20)
    assert [any(torch.equal(u, found[i]) for u in spread(found, 3)) for i in (0, 4, 8, 1)] == [True, True, True, False]
    assert len(spread(found, 100)) == 9
