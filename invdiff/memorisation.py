"""max over training slices and poses of corr(|x|, |slice|): how close a generated image comes to what a prior saw.

A prior that has learnt its training slices by heart draws them again, with correlations near 1; compare with the
correlations of held-out images, which share the anatomy and nothing else. Source: Carlini et al., Extracting Training
Data from Diffusion Models, 2023, for the question; the measure is ours.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from invdiff.checks import require

SIZE = 48  # pixels a side at which images are compared
POSES = 8  # four quarter turns, each with and without a flip
_CHUNK = 512


@dataclass(frozen=True)
class Nearest:
    """For each image: the training slice nearest to it.

    index: (n,) of the slice; correlation: (n,), -1 to 1; pose: (n,), to give to `posed`.
    """

    index: Tensor
    correlation: Tensor
    pose: Tensor


def posed(images: Tensor, pose: int) -> Tensor:
    """Images (..., H, W) in pose 0 to 7: turned by 90 degrees pose % 4 times, flipped left to right first from 4 on."""
    return torch.rot90(images.flip(-1) if pose >= POSES // 2 else images, pose % 4, (-2, -1))


def nearest_slices(images: Tensor, slices: Tensor, size: int = SIZE) -> Nearest:
    """The training slice most correlated with each image, over flips and quarter turns.

    Args:
        images: (n, 1, H, W), real, or complex, of which the magnitude is compared.
        slices: (N, H', W') training slices of any real dtype, on the same field of view.
        size: both are averaged to size x size first.

    Raises:
        ValueError: shapes, or no slices.
    """
    require("size", size, at_least=2)
    if images.ndim != 4 or images.shape[1] != 1 or slices.ndim != 3 or len(slices) == 0:
        raise ValueError(
            f"images must be (n, 1, H, W) and slices (N, H, W), N at least 1, got {tuple(images.shape)} and "
            f"{tuple(slices.shape)}."
        )
    small = _shrunk(images[:, 0].abs() if images.is_complex() else images[:, 0], size)
    poses = torch.stack([_standard(posed(small, pose)) for pose in range(POSES)], 1)  # (n, 8, size^2)
    found = []
    for chunk in slices.split(_CHUNK):
        known = _standard(_shrunk(chunk, size))
        found.append(poses @ known.mT)
    best, pose = torch.cat(found, 2).max(1)
    correlation, index = best.max(1)
    turned = pose.gather(1, index[:, None])[:, 0]
    return Nearest(index, correlation, torch.tensor([_INVERSE[p] for p in turned.tolist()]))


_INVERSE = (0, 3, 2, 1, 4, 5, 6, 7)  # a flip with any turns undoes itself


def _shrunk(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images[:, None].float(), size=(size, size), mode="area")[:, 0]


def _standard(images: Tensor) -> Tensor:
    """Mean 0 and norm 1 each, (n, size^2); 0 for constant images."""
    flat = images.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return flat / torch.linalg.vector_norm(flat, dim=1, keepdim=True).clamp(min=1e-12)
