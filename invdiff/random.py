"""One random stream per sample, so that an image does not depend on its batch.

The global generator is neither read nor moved.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

_MASK = (1 << 63) - 1


class Noise:
    """Standard normal draws, each sample of the batch from its own generator.

    Args:
        seeds: one integer per sample.
        device: where draws are returned; they are drawn on the CPU, so every device sees the same numbers.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.generators = [Generator().manual_seed(seed & _MASK) for seed in seeds]
        self.device = torch.device(device)

    def every(self, samples: int, offset: int) -> "Noise":
        """Streams offset, offset + samples, ...: one draw of each measurement; generators are shared, not copied."""
        part = Noise((), self.device)
        part.generators = self.generators[offset::samples]
        return part

    def states(self) -> list[Tensor]:
        """Where each stream has got to; `restore` goes on from there."""
        return [generator.get_state() for generator in self.generators]

    def restore(self, states: Sequence[Tensor]) -> None:
        """Go on from what `states` gave, of as many streams."""
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)

    def like(self, x: Tensor) -> Tensor:
        """Draws of the shape and dtype of x (B, ...); a complex draw has unit variance in each real component."""
        shape, dtype = x.shape[1:], x.dtype.to_real()
        if x.is_complex():
            return torch.view_as_complex(self._drawn((*shape, 2), dtype)).to(self.device)
        return self._drawn(shape, dtype).to(self.device)

    def _drawn(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        return torch.stack([torch.randn(*shape, generator=g, dtype=dtype, device="cpu") for g in self.generators])

    def poisson(self, mean: Tensor) -> Tensor:
        """Counts of these means (B, ...), 0 or more, in their dtype."""
        rows = [torch.poisson(m, g) for m, g in zip(mean.double().cpu(), self.generators, strict=True)]
        return torch.stack(rows).to(self.device, mean.dtype)


def streams(
    seed: int | Generator | None, batch: int, samples: int = 1, device: torch.device | str = "cpu"
) -> tuple[Noise, int]:
    """Streams for `batch` measurements times `samples` draws each, sample index fastest, and the seed used.

    Stream (i, j) depends on the seed, i and j alone, not on `batch` or `samples`. None draws a seed from the
    operating system; a Generator is asked for one integer.
    """
    if isinstance(seed, Generator):
        number = int(torch.randint(0, _MASK, (1,), generator=seed, device=seed.device))
    elif seed is None:
        number = Generator().seed() & _MASK
    else:
        number = int(seed)
    seeds = [mix(number, i, j) for i in range(batch) for j in range(samples)]
    return Noise(seeds, device), number


def mix(*values: int) -> int:
    """Hash integers to one of 63 bits (splitmix64 rounds)."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = (state ^ (value & ((1 << 64) - 1))) * 0xBF58476D1CE4E5B9 & ((1 << 64) - 1)
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & ((1 << 64) - 1)
        state ^= state >> 31
    return state & _MASK
