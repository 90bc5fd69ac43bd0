"""s = sum over volume lines of the value between four voxels: Joseph's projector in three dimensions, in plain torch.

The reference, and what runs on CUDA without Triton. One view at a time; memory grows with bins x lines x (rows +
slices). On CUDA the adjoint adds in any order.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from invdiff.operators.kernels.cone_rays import ConeRays, depths
from invdiff.operators.kernels.rays import entries


class Taps(NamedTuple):
    """Where the rays of a view meet the lines of a volume, taken as (line, across, slice).

    columns, shares: (ray, line, 2) indices across and their weights. slices, parts: (ray, line, height, 2) likewise.
    """

    view: int
    rays: Tensor
    columns: Tensor
    shares: Tensor
    slices: Tensor
    parts: Tensor


def project(x: Tensor, rays: ConeRays) -> Tensor:
    """Sums (B, view, ray, height) of volumes (B, D, H, W)."""
    sums = x.new_zeros(len(x), len(rays.plane.views), len(rays.plane.lines), len(rays.slopes))
    for by_rows in (True, False):
        volume = _lines_first(x, by_rows)
        lines = torch.arange(volume.shape[1], device=x.device)[:, None]
        for at in taps(rays, volume.shape[1:], by_rows):
            column = (volume[:, lines, at.columns] * at.shares.to(x)[..., None]).sum(-2)  # (B, ray, line, slice)
            for end in (0, 1):
                index = at.slices[..., end].expand(len(x), -1, -1, -1)
                sums[:, at.view, at.rays] += (column.gather(-1, index) * at.parts[..., end].to(x)).sum(2)
    return sums


def adjoint(sums: Tensor, rays: ConeRays, shape: tuple[int, int, int]) -> Tensor:
    """The transpose, to volumes (B, *shape)."""
    x = sums.new_zeros(len(sums), *shape)
    for by_rows in (True, False):
        volume = torch.zeros_like(_lines_first(x, by_rows), memory_format=torch.contiguous_format)
        count, across, height = volume.shape[1:]
        lines = torch.arange(count, device=x.device)[:, None]
        for at in taps(rays, volume.shape[1:], by_rows):
            column = x.new_zeros(len(x), len(at.rays), count, height)
            for end in (0, 1):
                index = at.slices[..., end].expand(len(x), -1, -1, -1)
                column.scatter_add_(-1, index, sums[:, at.view, at.rays, None] * at.parts[..., end].to(x))
            spread = (column[..., None, :] * at.shares.to(x)[..., None]).flatten(1, 3)
            volume.flatten(1, 2).index_add_(1, (lines * across + at.columns).flatten(), spread)
        x += volume.permute(0, 3, 1, 2) if by_rows else volume.permute(0, 3, 2, 1)
    return x


def taps(rays: ConeRays, sizes: torch.Size, by_rows: bool) -> Iterator[Taps]:
    """Of every view that has rays of this direction; voxels outside the volume weigh nothing."""
    count, across, height = sizes
    path = entries(rays.plane, by_rows)
    first, change = depths(rays.plane, path, by_rows)
    lines = torch.arange(count, device=rays.slopes.device)
    for v, weights in enumerate(path.weight):
        chosen = weights.nonzero()[:, 0]
        if not len(chosen):
            continue
        place = path.start[v, chosen, None] + lines * path.step[v, chosen, None]
        depth = first[v, chosen, None] + lines * change[v, chosen, None]
        z = (depth[..., None] * rays.slopes - rays.bottom) / rays.dz
        yield Taps(v, chosen, *_between(place, across), *_between(z, height))


def _between(place: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The two nearest of `length` pixels and their weights, (..., 2)."""
    place = place.clamp(-2, length)
    j = torch.stack((place.floor(), place.floor() + 1), -1)
    share = torch.where((j >= 0) & (j < length), 1 - (place[..., None] - j).abs(), 0.0)
    return j.clamp(0, length - 1).long(), share


def _lines_first(x: Tensor, by_rows: bool) -> Tensor:
    """(B, D, H, W) as (B, line, across, slice)."""
    return x.permute(0, 2, 3, 1) if by_rows else x.permute(0, 3, 2, 1)
