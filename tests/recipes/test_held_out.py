"""Held-out slices: which are taken, and what they are scaled to."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tests.recipes.loading import recipe

held_out = recipe("held_out")


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Eleven slices; the brightest pixel of each stands alone, so that averaging darkens it."""
    images = np.full((11, 8, 8), 10, np.uint8)
    images[:, 3, 3] = 100 + np.arange(11)
    with h5py.File(tmp_path / "slices.h5", "w") as file:
        file["val/images"] = images
    return tmp_path / "slices.h5"


def test_slices_lie_at_equal_distances(stored: Path) -> None:
    assert held_out.evenly(stored, 3, ends=True) == [0, 5, 10]
    assert held_out.evenly(stored, 4) == [2, 4, 6, 8]


def test_an_image_has_maximum_one_at_the_size_asked_for(stored: Path) -> None:
    images = held_out.held_out(stored, [0, 10], 4)
    assert images.shape == (2, 1, 4, 4)
    assert images.abs().amax((1, 2, 3)).tolist() == pytest.approx([1, 1])  # not that of 8 x 8
    assert float(images.angle().amax() - images.angle().amin()) > 1


def test_the_phase_is_as_steep_as_asked_for(stored: Path) -> None:
    weak, strong = (held_out.held_out(stored, [0], 4, radians).angle() for radians in (0.5, 1.0))
    torch.testing.assert_close(2 * weak, strong)


def test_images_of_a_training_come_from_the_part_and_in_the_number_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "slices.h5"
    with h5py.File(path, "w") as file:
        for part, level in (("train", 0.2), ("val", 1.0)):
            ramp = np.linspace(-1000, 1000 * level, 128).astype(np.int16)  # HU
            file[f"{part}/images"] = np.stack([ramp * np.ones((128, 1), np.int16)] * 4)
    train, val = (held_out.own_images("ct", path, 3, part) for part in ("train", "val"))
    assert train.shape == val.shape == (3, 1, 128, 128)
    assert (float(train.max()), float(val.max())) == pytest.approx((0.2, 1.0), abs=0.01)  # -1..1 is -1000..1000 HU
