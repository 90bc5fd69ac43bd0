"""Structured masks: of every layer the channels that a mask keeps most of, each of them whole."""

import math

import torch

from invdiff.checks import require
from invdiff.solvers.compact import sides
from invdiff.solvers.mask import Mask


def whole_channels(mask: Mask, share: float | None = None) -> Mask:
    """The mask of a narrower dense network inside the same one, which `compact` makes truly smaller.

    A channel's score is the number of parameters with an end at it that the mask keeps. Input and image stay whole.

    Args:
        share: of the channels of every layer to keep, at least one of each; None is the square root of the mask's own
            share, for about as many parameters.
    """
    share = math.sqrt(mask.share) if share is None else share
    require("share", share, above=0, at_most=1)
    places = sides(mask.network())
    last = max(group for groups in places.values() for group in groups)
    scores: dict[int, torch.Tensor] = {}
    for name, kept in mask.keep.items():
        for axis, group in enumerate(places[name]):
            count = kept.movedim(axis, 0).flatten(1).sum(1) if kept.ndim > 1 else kept.long()
            scores[group] = scores.get(group, 0) + count
    chosen = {}
    for group, score in scores.items():
        few = max(round(share * len(score)), 1)
        best = score.argsort(descending=True, stable=True)[: len(score) if group in (0, last) else few]
        chosen[group] = torch.zeros(len(score), dtype=torch.bool).index_fill_(0, best, True)
    keep = {}
    for name, kept in mask.keep.items():
        both = torch.ones_like(kept)
        for axis, group in enumerate(places[name]):
            both = both & chosen[group].view(-1, *[1] * (kept.ndim - axis - 1))
        keep[name] = both
    return Mask(keep, mask.config, mask.seed)
