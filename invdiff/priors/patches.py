"""Overlapping p x p patches as rows of pixel indices: taking them out is a gather, the transpose a scatter."""

from functools import lru_cache

import torch
from torch import Generator, Tensor


@lru_cache(maxsize=8)
def patch_grid(height: int, width: int, patch: int, stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Patches that cover the image: every `stride` pixels, and flush with the last row and column.

    Returns:
        indices (n, patch^2) into the flattened image; number of patches over each pixel (height * width,), float64.

    Raises:
        ValueError: an image smaller than a patch.
    """
    if min(height, width) < patch:
        raise ValueError(f"patches are {patch} x {patch}, the image {height} x {width} is smaller; pad it.")
    rows, columns = starts(height, patch, stride), starts(width, patch, stride)
    index = _inside(width, patch) + (rows[:, None] * width + columns).reshape(-1, 1)
    count = torch.bincount(index.flatten(), minlength=height * width)
    return index.to(device), count.to(device, torch.float64)


def starts(size: int, patch: int, stride: int) -> Tensor:
    """0, stride, 2 stride, ..., and size - patch."""
    return torch.tensor(sorted({*range(0, size - patch + 1, stride), size - patch}))


def random_patches(images: list[Tensor], patch: int, total: int, generator: Generator) -> Tensor:
    """`total` patches (total, patch^2) from images (H, W), each at a random place, flipped and turned at random."""
    out = images[0].new_empty(total, patch, patch)
    which = torch.randint(len(images), (total,), generator=generator)
    place = torch.rand(total, 2, generator=generator, dtype=torch.float32)
    for i, image in enumerate(images):
        rows = torch.nonzero(which == i)[:, 0]
        room = torch.tensor(image.shape) - patch + 1
        corner = (place[rows] * room).long()
        index = _inside(image.shape[1], patch) + (corner[:, :1] * image.shape[1] + corner[:, 1:])
        out[rows] = image.flatten()[index.to(image.device)].reshape(-1, patch, patch)
    pose = torch.randint(8, (total,), generator=generator)
    for k in range(8):
        rows = torch.nonzero(pose == k)[:, 0]
        turned = torch.rot90(out[rows], k % 4, (1, 2))
        out[rows] = turned.mT if k >= 4 else turned
    return out.flatten(1)


def _inside(width: int, patch: int) -> Tensor:
    """Offsets (1, patch^2) of a patch's pixels from its first."""
    return (torch.arange(patch)[:, None] * width + torch.arange(patch)).reshape(1, -1)
