"""train + val = all subjects: which slices are learned from and which are held out; no subject is on both sides."""

import math
from dataclasses import dataclass

import torch
from torch import Generator

from invdiff.data.image_source import ImageSource
from invdiff.data.images import open_images
from invdiff.training.config import Config
from invdiff.training.toml import ConfigError


@dataclass(frozen=True)
class Split:
    """Two sources of slices. `how` says in a sentence where the border comes from; `held_out` lists subjects."""

    train: ImageSource
    val: ImageSource
    how: str
    held_out: list[str]


def open_split(config: Config, seed: int) -> Split:
    """Open the data; held-out slices come from `data.val`, else from the parts of the data, else from its subjects.

    Raises:
        ValueError: nothing to tell subjects apart by, a single subject, a subject on both sides, or images of another
            kind than the configuration is about.
    """
    data = config.data
    if not data.path:
        raise ConfigError("no data: give --data PATH, or data.path in the configuration.")
    source = open_images(data.path, **data.options)
    if data.val:
        other = open_images(data.val, **data.options)
        found = _part(source, "train", data.path), _part(other, "val", data.val)
        split = _given(*found, "held-out images of their own")
    elif {"train", "val"} <= set(source.parts):
        split = _given(source.part("train"), source.part("val"), "parts train and val of the data")
    else:
        split = by_subject(_part(source, "train", data.path), data.val_share, seed)
    for part in (split.train, split.val):
        _check(part, config)
    return split


def by_subject(source: ImageSource, share: float, seed: int) -> Split:
    """Hold out a share of the subjects, at least one, at random.

    Raises:
        ValueError: a slice of an unknown subject, or a single subject.
    """
    names = sorted(set(source.subjects))
    remedy = "Name held-out images with --val (or data.val), or store them as part val."
    if "" in names:
        unknown = source.subjects.count("")
        raise ValueError(f"{source.path}: the subject of {unknown} of {len(source)} slices is unknown. {remedy}")
    if len(names) < 2:
        raise ValueError(f"{source.path}: all slices are of one subject, {names[0]!r}. {remedy}")
    order = torch.randperm(len(names), generator=Generator().manual_seed(seed)).tolist()
    held_out = sorted(names[i] for i in order[: max(1, math.ceil(share * len(names) - 1e-9))])
    sides: tuple[list[int], list[int]] = ([], [])
    for i, subject in enumerate(source.subjects):
        sides[subject in held_out].append(i)
    how = f"{len(held_out)} of {len(names)} subjects held out at random, seed {seed}"
    return Split(source.take(sides[0]), source.take(sides[1]), how, held_out)


def _given(train: ImageSource, val: ImageSource, how: str) -> Split:
    both = sorted((set(train.subjects) & set(val.subjects)) - {""})
    if both:
        raise ValueError(
            f"{len(both)} subjects are on both sides of the split, the first {both[0]!r}; move all slices of a subject "
            "to one side, or rename subjects that only share a name."
        )
    if "" in (*train.subjects, *val.subjects):
        how += ", subjects not stored"
    return Split(train, val, how, sorted(set(val.subjects) - {""}))


def _part(source: ImageSource, wanted: str, path: str) -> ImageSource:
    """The part of that name where there are several parts, and everything where there is one or none."""
    if len(source.parts) < 2:
        return source
    if wanted not in source.parts:
        raise ValueError(f"{path} has the parts {', '.join(source.parts)} and none called {wanted}; rename one.")
    return source.part(wanted)


def _check(source: ImageSource, config: Config) -> None:
    data = config.data
    found = f"{source.path} holds {source.kind} images" + (f" in {source.unit}" if source.unit else "")
    if data.scaling == "window" and source.kind == "complex":
        raise ValueError(f'{found}; data.scaling = "window" is for real ones.')
    if data.channels == "complex" and source.kind == "magnitude" and not config.augment.phase:
        raise ValueError(f'{found}; they become complex with augment.phase = true, or set data.channels = "real".')
    if source.unit == "HU" and (data.scaling != "window" or data.unit != "HU"):
        raise ValueError(f'{found}; set data.scaling = "window" and data.unit = "HU".')
