"""y = A x and x = A^T y for the line integrals of a cone-beam scan, as torch operators (`adjoint_pair`).

A torch operator takes flat arguments, hence `project` and `adjoint`, which take `ConeRays`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.kernels.adjoint_pair import register
from invdiff.operators.kernels.cone_rays import ConeRays, measured, spread
from invdiff.operators.kernels.projection import module_for
from invdiff.operators.kernels.rays import Rays


def project(x: Tensor, rays: ConeRays) -> Tensor:
    """A x, (B, D, H, W) float32 or float64 to (B, view, row, bin): means over a bin of line integrals, x per mm."""
    out: Tensor = torch.ops.invdiff.project_cone(x, *flat(rays))
    return out


def adjoint(y: Tensor, rays: ConeRays, shape: Sequence[int]) -> Tensor:
    """A^T y, (B, view, row, bin) to (B, *shape)."""
    out: Tensor = torch.ops.invdiff.project_cone_adjoint(y, *flat(rays), list(shape))
    return out


def flat(rays: ConeRays) -> tuple[Any, ...]:
    """As the torch operators take them."""
    plane, slopes, *heights = rays
    return plane.views, plane.lines, slopes, plane.scan, plane.per_bin, *heights


def _rays(views: Tensor, lines: Tensor, slopes: Tensor, scan: list[float], per_bin: int, *heights: Any) -> ConeRays:
    return ConeRays(Rays(views, lines, scan, per_bin), slopes, *heights)


def _project(x: Tensor, *tables: Any) -> Tensor:
    rays = _rays(*tables)
    return measured(module_for(x, "cone").project(x, rays), rays)


def _adjoint(y: Tensor, *arguments: Any) -> Tensor:
    *tables, shape = arguments
    rays = _rays(*tables)
    return module_for(y, "cone").adjoint(spread(y, rays), rays, tuple(shape))


def _traced(x: Tensor, *tables: Any) -> Tensor:
    return x.new_empty(_rays(*tables).projections(len(x)))


TABLES = "Tensor views, Tensor lines, Tensor slopes, float[] scan, int per_bin, int per_row, float bottom, float dz"
register("project_cone", TABLES, _project, _adjoint, _traced)
