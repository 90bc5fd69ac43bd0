"""Known images that recipes start from: held-out slices, as they are stored or as a training prepares them.

`held_out` takes val/images (N, h, w) of an HDF5 file; `own_images` any part of the data that a prior was trained on.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from invdiff.demo import smooth_phase
from invdiff.training.config import Config
from invdiff.training.slices import Slices
from invdiff.training.split import open_split
from invdiff.training.toml import read_config
from invdiff.training.validate import held_images

STORED = "val/images"
TRAININGS = Path(__file__).parent / "train"
MEMORY = 4 * 2**30  # bytes, at most, for slices


def evenly(path: Path, n: int, ends: bool = False) -> list[int]:
    """Numbers of n slices at equal distances; ends: with the first and the last, which show little of a body."""
    with h5py.File(path) as file:
        last = len(file[STORED]) - 1
    places = np.linspace(0, last, n) if ends else np.linspace(0, last, n + 2)[1:-1]
    return [int(place) for place in places.round()]


def held_out(path: Path, numbers: Sequence[int], size: int, radians: float = 2.0) -> Tensor:
    """Slices of maximum 1 with a smooth phase of so many radians, (n, 1, size, size) complex."""
    with h5py.File(path) as file:
        images = torch.from_numpy(np.stack([file[STORED][i] for i in numbers])).float()[:, None]
    images = interpolate(images, size=(size, size), mode="area")
    phase = smooth_phase(size, size, radians).expand_as(images)
    return torch.polar(images / images.amax((1, 2, 3), keepdim=True), phase)


def training(toml: Path, data: Path, images: int | None = None) -> Config:
    """A training's configuration with these data, and so many images to validate on (default: its own number)."""
    config = read_config(toml)
    validation = config.validation if images is None else replace(config.validation, images=images)
    return replace(config, data=replace(config.data, path=str(data)), validation=validation)


def part_of(config: Config, part: str, seed: int = 0) -> Slices:
    """The part `train` or `val` of a training's data."""
    return Slices(getattr(open_split(config, seed), part), config.data, MEMORY)


def own_images(name: str, data: Path, images: int, part: str = "val") -> Tensor:
    """At most so many images of the prior of this name, in its units, (N, 1, S, S), as its training validates on."""
    config = training(TRAININGS / f"{name}.toml", data, images)
    return held_images(part_of(config, part), config).images
