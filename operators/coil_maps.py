"""(s_c x)_c,   sum_c conj(s_c) z_c: coil sensitivities, checked, and the order in which stacks of coils are worked."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def checked_maps(maps: Any, owner: str, axes: str = "H, W") -> Tensor:
    """Coil sensitivities (coil, *N) or (B, coil, *N) as complex (B or 1, coil, *N), finite, no item zero everywhere.

    Args:
        maps: tensor or array.
        owner: how messages call whoever asks.
        axes: names of the image axes N.

    Raises:
        TypeError: maps that are not complex.
        ValueError: another number of axes; values that are not finite; an item that no coil sees.
    """
    maps, rank = torch.as_tensor(maps), len(axes.split(", "))
    if not maps.is_complex():
        raise TypeError(f"{owner}: maps must be complex, got {maps.dtype}. Use torch.complex(re, im).")
    if maps.ndim not in (rank + 1, rank + 2) or 0 in maps.shape:
        raise ValueError(f"{owner}: maps must be (coil, {axes}) or (B, coil, {axes}), got {tuple(maps.shape)}.")
    maps = maps[None] if maps.ndim == rank + 1 else maps
    bad = int((~torch.isfinite(maps)).sum())
    if bad:
        raise ValueError(f"{owner}: maps have {bad} values that are not finite. Set them to 0: unseen.")
    blind = (maps == 0).flatten(1).all(1)
    if bool(blind.any()):
        item = int(blind.nonzero()[0])
        raise ValueError(f"{owner}: the maps of item {item} are zero everywhere, so no coil sees the image.")
    return maps


def seen_pixels(maps: Tensor) -> Tensor | None:
    """Pixels that some coil sees, bool (B or 1, 1, *N), or None where that is all of them."""
    seen = (maps != 0).any(1, keepdim=True)
    return None if bool(seen.all()) else seen


def items(t: Tensor, b: slice) -> Tensor:
    """What a tensor (B or 1, ...) holds for the items b of a batch."""
    return t if len(t) == 1 else t[b]


def tiles(batch: int, coils: int, image_bytes: int, limit: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Slices (items, coils) that are worked at once: all, or one item, or one coil of it, within `limit` bytes.

    On a CPU a stack that stays in the cache is worth the loop; elsewhere one launch over everything is.
    """
    stack = coils * image_bytes
    if batch * stack <= limit or device.type != "cpu":
        yield slice(None), slice(None)
        return
    width = coils if stack <= limit else 1
    for b in range(batch):
        for c in range(0, coils, width):
            yield slice(b, b + 1), slice(c, c + width)
