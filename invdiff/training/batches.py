"""step -> x0: the clean training images of an optimiser step, a function of seed and step alone.

Some steps see full images and some see crops, several for each full image, so that few slices go far.
"""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from invdiff.training.augment import contrast, coordinates, draw_pose, resample, smooth_phase, turn_phase
from invdiff.training.config import Config
from invdiff.training.draws import Draws, share
from invdiff.training.slices import Slices

CHOICE, LOOK = 0, 1  # numbers of the two streams of a step: which slices (always on the CPU), and all else


@dataclass(frozen=True)
class Part:
    """What one process computes at once: its clean images and the stream that further numbers come from.

    x0: (n, C, s, s) in units of the prior. place: (n, 2, s, s), where the pixels lie in a full image, or 0: unknown.
    draw: rows of the whole batch. weight: share of the batch.
    """

    x0: Tensor
    place: Tensor
    draw: Draws
    weight: float


class Batches:
    """Makes the parts of each step that are this process's.

    Args:
        slices: to draw from. seed: of the training.
        rank, world: this process and how many there are; the batch as a whole does not depend on them.
    """

    def __init__(
        self,
        slices: Slices,
        config: Config,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.slices, self.config, self.seed, self.device = slices, config, seed, torch.device(device)
        self.rank, self.parts, self.all_parts = rank, config.batch.accumulate, world * config.batch.accumulate
        share(config.batch.images, 0, self.all_parts)  # refuses what does not divide
        self._edges = _edges(slices.subjects, config.data.balance)

    def steps(self, first: int) -> Generator[list[Part], None, None]:
        """The parts of step `first`, `first` + 1, ...; the next slices are read while a step is computed."""
        with ThreadPoolExecutor(1, "slices") as reader:
            ahead = reader.submit(self.choose, first)
            while True:
                chosen = ahead.result()
                ahead = reader.submit(self.choose, first + 1)
                yield [self.make(first, part, chosen[part]) for part in range(self.parts)]
                first += 1

    def choose(self, step: int) -> list[list[Tensor]]:
        """The slices of each part of a step, drawn with replacement."""
        count = self.count(step)
        chosen = []
        for part in range(self.parts):
            at = Draws((self.seed, step, CHOICE), count, self._rows(count, part)).uniform(0, 1)
            index = torch.searchsorted(self._edges, at.double()).clamp(max=len(self.slices) - 1)
            chosen.append([self.slices[i] for i in index.tolist()])
        return chosen

    def make(self, step: int, part: int, u: list[Tensor]) -> Part:
        """Clean images from chosen slices, on the device."""
        batch, augment = self.config.batch, self.config.augment
        count = self.count(step)
        draw = Draws((self.seed, step, LOOK), count, self._rows(count, part), self.device)
        if is_crop(step, batch.crop_share):
            pose = draw_pose(draw, augment, batch.crop, augment.crop_scale, augment.crop_shift)
        else:
            pose = draw_pose(draw, augment, batch.size, augment.scale, augment.shift)
        x = contrast(resample(u, pose), draw, augment)
        if augment.phase:
            x = turn_phase(x, smooth_phase(draw, x.shape[-2:]))
        x0 = prior_units(x, self.config).contiguous(memory_format=torch.channels_last)
        known = draw.uniform(0, 1, 1, 1, 1) >= augment.drop_place
        return Part(x0, coordinates(pose, batch.size) * known, draw, len(draw) / count)

    def count(self, step: int) -> int:
        """Images of a step, over all processes."""
        batch = self.config.batch
        return batch.images * (batch.size // batch.crop) ** 2 if is_crop(step, batch.crop_share) else batch.images

    def _rows(self, count: int, part: int) -> slice:
        return share(count, self.rank * self.parts + part, self.all_parts)


def is_crop(step: int, crop_share: float) -> bool:
    """Whether a step sees crops: an even spread of that share of the steps."""
    return int(step * crop_share) > int((step - 1) * crop_share)


def prior_units(u: Tensor, config: Config) -> Tensor:
    """Training images from scaled slices: u, or u - 1 for a window, which then is (-1, 1)."""
    return u - 1 if config.data.scaling == "window" else u


def _edges(subjects: list[str], balance: float) -> Tensor:
    """Upper ends of the slices' shares of (0, 1), (N,) float64; a share is (slices of its subject)^-balance."""
    _, inverse, counts = torch.unique(_numbers(subjects), return_inverse=True, return_counts=True)
    return (counts[inverse].double() ** -balance).cumsum(0) / (counts[inverse].double() ** -balance).sum()


def _numbers(subjects: list[str]) -> Tensor:
    """A number for each subject; slices of unknown subjects count as one subject each."""
    known: dict[str, int] = {}
    return torch.tensor([known.setdefault(name or f"\0{i}", len(known)) for i, name in enumerate(subjects)])
