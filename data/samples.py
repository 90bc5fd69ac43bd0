"""Sample images that come with the library, each with its licence; see samples/README.md."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """An image with its origin.

    Attributes:
        image: (h, w) float32, maximum 1, zero outside the object.
        pixel_mm: side of a pixel.
        source: where it comes from and how it was made.
        licence: the licence text, which goes with every copy.
    """

    image: Tensor
    pixel_mm: float
    source: str
    licence: str


def load_sample(name: str = "brain") -> Sample:
    """A packaged sample.

    Args:
        name: "brain", an axial echo-planar MR slice of a human brain without skull, 128 x 128.

    Raises:
        ValueError: no such sample; the message lists them.
    """
    folder = files("invdiff.data") / "samples"
    names = sorted(f.name[:-4] for f in folder.iterdir() if f.name.endswith(".npz"))
    if name not in names:
        raise ValueError(f"there is no sample {name!r}; the samples are {', '.join(names)}.")
    with (folder / f"{name}.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        image = torch.from_numpy(stored["image"].astype(np.float32))
        return Sample(image, float(stored["pixel_mm"]), str(stored["source"]), str(stored["licence"]))
