"""cos t, sin t; cos g, sin g, s: a geometry as the tables that kernels read, and the pixels that its rays can see."""

import torch
from torch import Tensor

from invdiff.operators.ct_geometry import FanGeometry, Geometry
from invdiff.operators.kernels.rays import Rays


def ray_tables(geometry: Geometry, model: str = "joseph") -> Rays:
    """What the kernels need to know of a geometry."""
    angles = torch.tensor(geometry.angles, dtype=torch.float64)
    y, x = geometry.coordinates()
    fan = (0.0, 0.0, 0.0)
    if isinstance(geometry, FanGeometry):
        fan = (geometry.source_distance, geometry.source_to_detector, float(geometry.detector == "curved"))
    middle = (geometry.bins - 1) / 2 - geometry.offset
    scan = [float(y[0]), float(x[0]), *geometry.pixel, *fan, geometry.bin_width, middle]
    views = torch.stack((angles.cos(), angles.sin()), 1)
    per_bin = geometry.rays_per_bin if model == "joseph" else 0
    lines = geometry.lines(per_bin) if per_bin else geometry.edge_lines()
    return Rays(views, torch.stack(lines, 1), scan, per_bin)


def seen_pixels(geometry: Geometry) -> Tensor | None:
    """Pixels that, one pixel larger on every side, meet some view's detector, (1, H, W) bool; None for all."""
    if geometry.field_of_view >= geometry.reach:
        return None
    rows, columns = geometry.coordinates()
    y, x = (c.flatten() for c in torch.meshgrid(rows, columns, indexing="ij"))
    dy, dx = (torch.tensor(corners, dtype=torch.float64)[:, None] for corners in ((-1, -1, 1, 1), (-1, 1, -1, 1)))
    dy, dx = geometry.pixel[0] * dy, geometry.pixel[1] * dx
    low, high = geometry.edges
    unseen = torch.arange(len(y))
    for angle in geometry.angles:
        u = geometry.shadow(angle, y[unseen] + dy, x[unseen] + dx)
        unseen = unseen[(u.amax(0) < low) | (u.amin(0) > high)]
        if not len(unseen):
            return None
    seen = torch.ones(len(y), dtype=torch.bool)
    seen[unseen] = False
    return seen.view(1, *geometry.shape)
