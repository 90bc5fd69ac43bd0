"""argmin_s |A x_s - y|: of several reconstructions of one measurement, the one that explains it best.

From the data alone; the truth is not seen.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from invdiff.shapes import norm

WAYS = ("mean", "misfit")


def check_select(select: str, samples: int) -> None:
    """Refuse an unknown way to select, or one that has nothing to select from.

    Raises:
        ValueError: names the ways, or asks for more samples.
    """
    if select not in WAYS:
        raise ValueError(f"select must be {' or '.join(map(repr, WAYS))}, got {select!r}.")
    if select == "misfit" and samples == 1:
        raise ValueError("select='misfit' keeps the best of several runs, and there is one. Pass num_samples=4, say.")


@torch.no_grad()
def least_misfit(samples: Tensor, y: Tensor, op: Callable[[Tensor], Tensor]) -> Tensor:
    """The index s of each item, (B,), of samples (B, S, C, H, W)."""
    return torch.stack([norm(op(x) - y) for x in samples.unbind(1)], 1).argmin(1)


def pick(samples: Tensor, index: Tensor) -> Tensor:
    """Sample index[b] of item b, (B, C, H, W)."""
    return samples[torch.arange(len(samples), device=samples.device), index]


def kept_by_misfit(index: Tensor | None) -> str:
    """Which sample of each item was selected, counted from 0 as in `Result.samples`."""
    return "" if index is None else f"; kept by least misfit: sample {', '.join(map(str, index.tolist()))}"
