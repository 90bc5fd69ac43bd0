"""Held-out slices, val/images (N, h, w) of an HDF5 file, as complex images: what recipes on known images start from."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from invdiff.demo import smooth_phase

STORED = "val/images"


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
