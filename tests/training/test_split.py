"""The split is by subject, the same for the same seed, and refused where it would not be one."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from invdiff.data.images import open_images
from invdiff.training.config import Augment, Config, Data
from invdiff.training.split import by_subject, open_split
from tests.training.tiny import discs, write


def config(phase: bool = True, **data: Any) -> Config:
    phase = phase and data.get("channels") != "real"
    return Config(data=Data(**data), augment=Augment(phase=phase))


def test_no_subject_is_on_both_sides_and_nothing_is_lost(slices: Path) -> None:
    split = by_subject(open_images(slices), 0.25, seed=3)
    train, val = split.train.subjects, split.val.subjects
    assert not set(train) & set(val)
    assert sorted(set(val)) == split.held_out
    assert len(split.held_out) == 2
    assert len(train) + len(val) == 40


def test_the_split_is_a_function_of_the_seed(slices: Path) -> None:
    source = open_images(slices)
    drawn = [tuple(by_subject(source, 0.25, seed).held_out) for seed in range(6)]
    assert drawn == [tuple(by_subject(source, 0.25, seed).held_out) for seed in range(6)]
    assert len(set(drawn)) > 1


@pytest.mark.parametrize(
    ("subjects", "message"),
    [(None, "the subject of 4 of 4 slices is unknown"), (["a"] * 4, "all slices are of one subject, 'a'")],
)
def test_without_several_known_subjects_a_source_of_held_out_images_is_needed(
    tmp_path: Path, subjects: list[str] | None, message: str
) -> None:
    extra = {} if subjects is None else {"subject": np.array(subjects, "S")}
    path = write(tmp_path / "one.h5", images=discs(4), **extra)
    with pytest.raises(ValueError, match=message):
        open_split(config(path=str(path)), 0)
    other = write(tmp_path / "other.h5", images=discs(3, seed=1))
    split = open_split(config(path=str(path), val=str(other)), 0)
    assert (len(split.train), len(split.val)) == (4, 3)


def test_parts_of_the_data_are_respected(tmp_path: Path) -> None:
    parts = {"train__images": discs(4), "val__images": discs(2, seed=1), "phantom__images": discs(3, seed=2)}
    split = open_split(config(path=str(write(tmp_path / "p.h5", **parts))), 0)
    assert (len(split.train), len(split.val)) == (4, 2)
    assert "subjects not stored" in split.how


def test_a_subject_on_both_sides_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.h5",
        train__images=discs(2),
        train__subject=np.array(["a", "b"], "S"),
        val__images=discs(1),
        val__subject=np.array(["b"], "S"),
    )
    with pytest.raises(ValueError, match="1 subjects are on both sides of the split, the first 'b'"):
        open_split(config(path=str(path)), 0)


def test_parts_without_a_training_part_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.h5", a__images=discs(2), b__images=discs(2))
    with pytest.raises(ValueError, match="has the parts a, b and none called train"):
        open_split(config(path=str(path)), 0)


def test_units_that_do_not_fit_the_scaling_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.h5", images=discs(4).astype(np.int16), subject=np.array(list("aabb"), "S"))
    with h5py.File(path, "r+") as file:
        file.attrs["units"] = "HU"
    with pytest.raises(ValueError, match=r'in HU; set data\.scaling = "window"'):
        open_split(config(path=str(path)), 0)
    assert len(open_split(config(path=str(path), scaling="window", channels="real"), 0).train) == 2


def test_magnitudes_need_a_phase_to_be_complex(slices: Path) -> None:
    with pytest.raises(ValueError, match=r"become complex with augment\.phase = true"):
        open_split(config(path=str(slices), phase=False), 0)


def test_no_data_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="give --data PATH"):
        open_split(config(), 0)
