"""cos t, sin t; cos g, sin g, s; v / D: a cone beam as the tables that kernels read, and what its rays can see."""

import torch
from torch import Tensor

from invdiff.operators.ct_cone_geometry import ConeGeometry
from invdiff.operators.ct_tables import ray_tables, seen_pixels
from invdiff.operators.kernels.cone_rays import ConeRays


def cone_tables(geometry: ConeGeometry) -> ConeRays:
    """What the kernels need to know of a geometry."""
    per_row = geometry.rays_per_row
    slopes = geometry.row_positions(per_row) / geometry.fan.source_to_detector
    return ConeRays(ray_tables(geometry.fan), slopes, per_row, float(geometry.heights()[0]), geometry.pixel[0])


def seen_voxels(geometry: ConeGeometry) -> Tensor | None:
    """Voxels that, one voxel larger on every side, a detector in the circle may see, (1, D, H, W) bool; None for all.

    Over a point of the plane a view sees the heights v depth / D between the detector's lower and upper edge. Its depth
    is R - r to R + r on a full turn, r the point's distance from the axis; other scans may see a little less.
    """
    fan, (dz, dy, dx) = geometry.fan, geometry.pixel
    rows, columns = fan.coordinates()
    r = torch.hypot(rows.abs()[:, None] + dy, columns.abs() + dx)
    scales = torch.stack((fan.source_distance - r, fan.source_distance + r)) / fan.source_to_detector
    low, high = (scales * v for v in geometry.row_edges)
    z = geometry.heights()[:, None, None]
    seen = (z + dz >= low.amin(0)) & (z - dz <= high.amax(0))
    plane = seen_pixels(fan)
    seen = seen if plane is None else seen & plane
    return None if bool(seen.all()) else seen[None]
