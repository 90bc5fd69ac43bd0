"""y, w A -> y / w, A: the bare projector of a CT measurement, behind the weights that `solve` puts before it.

For what works on sinograms and their geometry rather than on any A: filtered backprojection, subsets of views.
"""

from dataclasses import replace

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator, Operator
from invdiff.operators.compose import Product
from invdiff.operators.ct import Projector
from invdiff.operators.ct_cone import ConeProjector
from invdiff.operators.ct_cone_geometry import ConeGeometry
from invdiff.operators.ct_geometry import Geometry
from invdiff.operators.weighted import Weighting


def geometry_of(op: Operator) -> Geometry | ConeGeometry | None:
    """The geometry of a projector, weighted or not; None for any other operator."""
    while isinstance(op, Product) and isinstance(op.left, Weighting):
        op = op.right
    geometry = getattr(op, "geometry", None)
    return geometry if isinstance(geometry, Geometry | ConeGeometry) else None


def unweighted(y: Tensor, op: LinearOperator) -> Tensor:
    """The sinogram (B, 1, view, ..., bin) in front of the weights; bins of weight 0 are filled in along their view."""
    while isinstance(op, Product) and isinstance(op.left, Weighting):
        sampled = op.left.sampled
        y, op = op.left.pinv(y), op.right
        y = y if sampled is None else fill_bins(y, sampled.expand_as(y))
    return y


def lacks_geometry(op: Operator) -> str | None:
    """Why a method for sinograms cannot work behind an operator; None where it can."""
    if geometry_of(op) is None:
        return "it needs the geometry of ParallelBeamCT, FanBeamCT or ConeBeamCT. Use cg, tv, wavelet or adjoint."
    return None


def of_views(op: LinearOperator, views: slice) -> LinearOperator:
    """The projector of some of the views, with their weights.

    Raises:
        ValueError: an operator without a geometry.
    """
    if isinstance(op, Product) and isinstance(op.left, Weighting):
        weights = op.left.weights.expand(-1, *op.shape_out)[:, :, views]
        right = of_views(op.right, views)
        return Weighting(weights, right.shape_out) @ right
    geometry = geometry_of(op)
    if geometry is None:
        raise ValueError(f"{op.name} has no views: it is no CT projector.")
    angles = geometry.angles[views]
    part: LinearOperator
    if isinstance(geometry, ConeGeometry):
        part = ConeProjector(replace(geometry, angles=angles))
    else:
        part = Projector(replace(geometry, angles=angles), op.shape_in[0])
    return part.to(device=op.device, dtype=op.dtype_in)


def fill_bins(p: Tensor, known: Tensor) -> Tensor:
    """p (..., bin) with unknown bins interpolated between the nearest known ones of their view.

    Beyond the last known bin its value is kept; a view without any is 0. For the trace of metal this is the
    linear-interpolation correction of Kalender, Hebel and Ebersberger, 1987.
    """
    n = p.shape[-1]
    place = torch.arange(n, device=p.device).expand_as(p)
    left = torch.where(known, place, -1).cummax(-1).values
    right = torch.where(known, place, n).flip(-1).cummin(-1).values.flip(-1)
    none = (left < 0) & (right >= n)
    a = torch.where(left < 0, right, left).clamp(0, n - 1)
    b = torch.where(right >= n, left, right).clamp(0, n - 1)
    share = (place - a) / (b - a).clamp(min=1)
    between = p.gather(-1, a) * (1 - share) + p.gather(-1, b) * share
    return torch.where(known, p, torch.where(none, 0.0, between))
