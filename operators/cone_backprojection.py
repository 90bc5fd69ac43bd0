"""b(x, y, z) = sum over views of q_t(v, u) (R / depth)^2: filtered projections, read where the ray of a voxel ends.

Bilinear interpolation between bins and rows; depth is a voxel's distance from the source along the central ray, R the
source's from the axis. In the plane z = 0 this is `backprojection` of a fan with a flat detector, and as little an
adjoint.

Source: Feldkamp, Davis and Kress, Practical Cone-Beam Algorithm, 1984.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from invdiff.operators.backprojection import compiled
from invdiff.operators.ct_cone_geometry import ConeGeometry
from invdiff.operators.ct_tables import ray_tables


def backproject_cone(q: Tensor, geometry: ConeGeometry) -> Tensor:
    """(B, C, view, row, bin) to (B, C, D, H, W); rays beyond the detector count as 0.

    Args:
        q: filtered projections, any real dtype.
        geometry: of the scan and of the volume.

    On a CPU a compiled kernel runs, but where a gradient is asked for or for half precision.
    """
    if compiled(q):
        from invdiff.operators.kernels import cone_backprojection_numba

        middle = (geometry.rows - 1) / 2 - geometry.offset[0]
        levels = float(geometry.heights()[0]), geometry.pixel[0], geometry.row_height, middle
        plane = ray_tables(geometry.fan)
        x = cone_backprojection_numba.backproject(q.flatten(0, 1), plane, levels, geometry.shape)
        return x.unflatten(0, q.shape[:2])
    return reference(q, geometry)


def reference(q: Tensor, geometry: ConeGeometry) -> Tensor:
    """`backproject_cone` in plain torch, view by view."""
    fan = geometry.fan
    y, x = (c.to(q).flatten() for c in torch.meshgrid(*fan.coordinates(), indexing="ij"))
    z = geometry.heights().to(q)
    first_row, first_bin = float(geometry.row_positions()[0]), float(fan.detector_positions()[0])
    out = q.new_zeros(*q.shape[:2], len(x), len(z))
    padded = pad(q, (1, 2, 1, 2)).mT.contiguous()  # (B, C, view, bin, row)
    for view, angle in enumerate(geometry.angles):
        depth = geometry.depth(angle, y, x)
        left, part = _split((fan.shadow(angle, y, x) - first_bin) / geometry.bin_width, geometry.bins)
        bins = padded[:, :, view]
        column = torch.lerp(bins[:, :, left], bins[:, :, left + 1], part[:, None])  # (B, C, pixel, row)
        v = z * (fan.source_to_detector / depth)[:, None]
        low, part = _split((v - first_row) / geometry.row_height, geometry.rows)
        low = low.expand(*q.shape[:2], -1, -1)
        value = torch.lerp(column.gather(-1, low), column.gather(-1, low + 1), part)
        out += value * ((geometry.source_distance / depth) ** 2)[:, None]
    return out.mT.reshape(*q.shape[:2], *geometry.shape)


def _split(place: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Index before a place and the share of the next, among `count` entries with one 0 before them and two behind."""
    place = place.clamp(-1, count) + 1
    left = place.floor()
    return left.long(), place - left
