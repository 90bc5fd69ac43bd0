"""u = (v - offset) / divisor: stored slices v, held in memory as small as they are, and their scale.

Slices beyond the memory limit are read again whenever they are drawn; they give the same numbers.
"""

import threading
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from invdiff.training.config import Data

Planes = NDArray[Any]  # (C, H, W): one plane, or real and imaginary part


class Images(Protocol):
    """What `invdiff.data.images.open_images` returns, as far as training needs it."""

    @property
    def subjects(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> NDArray[Any]: ...


class Slices:
    """Scaled slices, each (C, H, W) float32 with 0 where there is no signal; those without content are left out.

    Args:
        images: slices v, (H, W), of any sizes.
        data: how they are scaled.
        memory: bytes to keep them in; whole numbers stay whole numbers of 8 or 16 bits, others become half precision.
        label: of the progress bar; "" for none.

    Attributes:
        subjects: of each slice. n_empty: slices left out. n_kept: slices in memory.

    Raises:
        ValueError: magnitudes below 0, or no slice with content.
    """

    def __init__(self, images: Images, data: Data, memory: int, label: str = "") -> None:
        self._images, self._data, self._lock = images, data, threading.Lock()
        self._index: list[int] = []
        self._divisor: list[float] = []
        self._kept: list[Planes] = []
        self._checksum = 0
        for i in tqdm(range(len(images)), label, unit="slice", leave=False, disable=None if label else True):
            memory -= self._add(i, memory)
        if not self._index:
            raise ValueError(f"all {len(images)} slices are without content; check the data.")
        subjects = images.subjects
        self.subjects = [subjects[i] for i in self._index]
        self.n_empty, self.n_kept = len(images) - len(self._index), len(self._kept)

    def _add(self, i: int, memory: int) -> int:
        """Measure slice i and keep it where it fits; the bytes it takes."""
        v = planes(self._images[i], self._data)
        divisor = _divisor(v, self._data, i)
        if divisor <= 0 or bool((v == v[:, :1, :1]).all()):
            return 0
        self._index.append(i)
        self._divisor.append(divisor)
        self._checksum = zlib.crc32(v.tobytes(), self._checksum)
        small = compact(v, self._offset, divisor)
        if small.nbytes > memory or len(self._kept) < len(self._index) - 1:
            return 0
        self._kept.append(small)
        return small.nbytes

    @property
    def _offset(self) -> float:
        return self._data.window[0] if self._data.scaling == "window" else 0.0

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Tensor:
        if i < len(self._kept):
            small = self._kept[i]
        else:
            with self._lock:  # readers keep one open file, and a thread reads ahead
                small = compact(planes(self._images[self._index[i]], self._data), self._offset, self._divisor[i])
        u = expand(small, self._offset, self._divisor[i])
        return torch.from_numpy(u).clamp_(min=0) if self._data.scaling == "window" else torch.from_numpy(u)

    def fingerprint(self) -> str:
        """Changes with the pixels, the order and the subjects of the slices."""
        return f"{self._checksum:08x}{zlib.crc32(repr(self.subjects).encode()):08x}"


def spread(slices: Slices, count: int) -> list[Tensor]:
    """At most `count` slices, evenly spaced over all."""
    index = np.linspace(0, len(slices) - 1, min(count, len(slices))).round().astype(int)
    return [slices[i] for i in index.tolist()]


def planes(v: NDArray[Any], data: Data) -> Planes:
    """A slice as (1, H, W), or (2, H, W) for a complex one that stays complex; float32."""
    if np.iscomplexobj(v) and data.channels == "complex":
        return np.stack([v.real, v.imag]).astype(np.float32)
    return (np.abs(v) if np.iscomplexobj(v) else v)[None].astype(np.float32)


def compact(v: Planes, offset: float, divisor: float) -> Planes:
    """v itself as 8 or 16 bit integers where that is exact, else u in half precision (5e-4 of each value)."""
    low, high = float(v.min()), float(v.max())
    if bool((v == np.rint(v)).all()):
        for kind in (np.uint8, np.int16, np.uint16):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return v.astype(kind)
    u = (v - offset) / divisor
    return u.astype(np.float16 if float(np.abs(u).max()) < 6e4 else np.float32)


def expand(small: Planes, offset: float, divisor: float) -> Planes:
    """u in float32 from what `compact` made."""
    if small.dtype.kind == "f":
        return small.astype(np.float32)
    return ((small.astype(np.float32) - offset) / divisor).astype(np.float32)


def _divisor(v: Planes, data: Data, i: int) -> float:
    if data.scaling == "window":
        return (data.window[1] - data.window[0]) / 2
    if len(v) == 1 and float(v.min()) < 0:
        raise ValueError(
            f"slice {i} holds values below 0, so it is no magnitude; scale such images with data.scaling = 'window'."
        )
    return float(np.percentile(np.sqrt(np.square(v).sum(0)), data.percentile))
