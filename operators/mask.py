"""m in {0, 1}: sampling masks, 1 = sampled."""

from typing import Any

import torch
from torch import Tensor

from invdiff.shapes import Shape


def binary_mask(mask: Any, owner: str) -> Tensor:
    """A mask as a bool tensor of the shape that came.

    Args:
        mask: tensor, array or nested list; bool, or numbers 0 and 1.
        owner: how messages call whoever asks.

    Raises:
        TypeError: complex values.
        ValueError: values other than 0 and 1.
    """
    mask = torch.as_tensor(mask)
    if mask.is_complex():
        raise TypeError(f"{owner}: the mask must be bool or 0/1, got {mask.dtype}.")
    if mask.dtype != torch.bool:
        wrong = (mask != 0) & (mask != 1)
        if bool(wrong.any()):
            value = mask[wrong][0].item()
            raise ValueError(
                f"{owner}: the mask must be bool or 0/1, got {int(wrong.sum())} other values, the first {value:g}. "
                "Pass mask > 0 if every positive value means sampled."
            )
    return mask.bool()


def sampling_mask(mask: Any, shape: Shape, owner: str) -> Tensor:
    """A mask (W,), (H, W), (C, H, W) or (B, C, H, W) as bool (B or 1, C or 1, H, W).

    Args:
        mask: as for `binary_mask`; a batch or channel axis of one serves all items or channels.
        shape: (C, H, W) of what it samples.
        owner: how messages call whoever asks.

    Raises:
        TypeError, ValueError: see `binary_mask`; also a size that does not fit, or an item with nothing sampled.
    """
    mask = binary_mask(mask, owner)
    sizes = tuple(mask.shape)
    if not 1 <= mask.ndim <= 4 or not _fits(sizes, shape):
        channels, height, width = shape
        image = f"{channels}, {height}, {width}"
        wanted = f"({width},), ({height}, {width}), ({image}) or (B, {image})"
        hint = " A mask along the rows is mask[:, None].expand(H, W)." if sizes == (height,) else ""
        raise ValueError(f"{owner}: the mask must be {wanted} for images {tuple(shape)}, got {sizes}.{hint}")
    if mask.ndim == 1:
        mask = mask.expand(shape[1], -1)
    full = mask.reshape(*[1] * (4 - mask.ndim), *mask.shape)
    empty = ~full.flatten(1).any(1)
    if bool(empty.any()):
        where = f" of item {int(empty.nonzero()[0])}" if len(full) > 1 else ""
        raise ValueError(f"{owner}: the mask{where} is zero everywhere, so nothing is measured. 1 means sampled.")
    return full.contiguous()


def _fits(sizes: tuple[int, ...], shape: Shape) -> bool:
    if len(sizes) >= 3 and sizes[-3] not in (1, shape[0]):
        return False
    return sizes[-2:] == tuple(shape[1:]) if len(sizes) > 1 else sizes == (shape[2],)
