"""Training and validation slices in memory: (N, H, W) uint8 or float, and the scale that brings each to [0, 1]."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Generator, Tensor

PERCENTILE = 99.5  # of each slice's magnitude; that value becomes 1


@dataclass
class Slices:
    """Stored slices with one divisor each.

    images: (N, H, W) as stored; divisor: (N,) float32, the 99.5th percentile of each slice.
    """

    images: Tensor
    divisor: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor) -> Tensor:
        """Slices `index`, (len(index), 1, H, W) float32, scaled so that the percentile is 1."""
        return (self.images[index].float() / self.divisor[index, None, None])[:, None]


def read_slices(path: str | Path, part: str) -> Slices:
    """Read `part`/images ("train" or "val") of an HDF5 file; empty slices are left out.

    Raises:
        ValueError: the file lacks the part; the message lists what it has.
    """
    with h5py.File(path) as file:
        name = f"{part}/images"
        if name not in file:
            raise ValueError(f"{path} has no dataset {name}; it has {sorted(file)}. Store slices as {name} (N, H, W).")
        images = torch.from_numpy(np.asarray(file[name]))
    divisor = torch.tensor([np.percentile(image, PERCENTILE) for image in images.numpy()], dtype=torch.float32)
    keep = divisor > 0
    return Slices(images[keep], divisor[keep])


def draw(slices: Slices, count: int, generator: Generator) -> Tensor:
    """`count` random slices, (count, 1, H, W)."""
    return slices.take(torch.randint(0, len(slices), (count,), generator=generator))
