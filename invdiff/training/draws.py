"""r_1, ..., r_B: the random numbers of an optimiser step, drawn for the whole batch; a process keeps its rows.

Every process draws all rows from the same stream, which is a function of the seed and the step. So a step depends
neither on how many processes or parts share it, nor on what ran before: training resumes from the step alone.
"""

import torch
from torch import Generator, Tensor

from invdiff.random import mix


class Draws:
    """Rows `rows` of the random numbers of a step.

    Args:
        seed: several integers make one stream, such as seed and step.
        count: rows in all.
        rows: those of this process.
        device: where numbers are drawn; another device has another stream.
    """

    def __init__(
        self, seed: tuple[int, ...], count: int, rows: slice = slice(None), device: torch.device | str = "cpu"
    ) -> None:
        self.count, self.rows, self.device = count, rows, torch.device(device)
        self.generator = Generator(self.device).manual_seed(mix(*seed))

    def __len__(self) -> int:
        return len(range(*self.rows.indices(self.count)))

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform on [low, high), (rows, *shape)."""
        values = torch.rand((self.count, *shape), generator=self.generator, dtype=torch.float32, device=self.device)
        return low + (high - low) * values[self.rows]

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, (rows, *shape)."""
        every = (self.count, *shape)
        return torch.randn(every, generator=self.generator, dtype=torch.float32, device=self.device)[self.rows]

    def below(self, high: int, *shape: int) -> Tensor:
        """Whole numbers in [0, high), (rows, *shape)."""
        return torch.randint(high, (self.count, *shape), generator=self.generator, device=self.device)[self.rows]

    def strata(self) -> Tensor:
        """One uniform number in each of `count` equal parts of [0, 1), (rows,)."""
        part = torch.arange(self.count, device=self.device)
        values = torch.rand(self.count, generator=self.generator, dtype=torch.float32, device=self.device)
        return ((part + values) / self.count)[self.rows]


def share(count: int, part: int, parts: int) -> slice:
    """Every `parts`-th row from `part` on.

    Raises:
        ValueError: the rows do not divide evenly.
    """
    if count % parts:
        raise ValueError(f"a batch of {count} images does not divide into {parts} equal parts; change batch.images.")
    return slice(part, None, parts)
