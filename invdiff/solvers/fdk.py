"""x = sum over views of w dt (p c * h)(v, u) (R / depth)^2,   c = D / sqrt(D^2 + u^2 + v^2): FDK, for a cone beam.

Row by row what `fbp` does for a fan with a flat detector, with the obliquity c of the rays in space. It is exact in the
plane of the source and for volumes that do not change along z; elsewhere a circular orbit measures too little, and
values fall off slowly with the cone angle.

Source: Feldkamp, Davis and Kress, Practical Cone-Beam Algorithm, 1984, equations 30 to 33.
Differs: views of any order and spacing; short scans with Parker's weights of the fan, shifted detectors, as in `fbp`.
"""

from dataclasses import replace

from torch import Tensor
from torch.nn.functional import pad

from invdiff.operators.cone_backprojection import backproject_cone
from invdiff.operators.ct_cone_geometry import ConeGeometry
from invdiff.operators.ramp import ramp_filter
from invdiff.operators.view_weights import completed, ray_weights


def fdk(p: Tensor, geometry: ConeGeometry, window: str = "ramp", cutoff: float = 1.0) -> Tensor:
    """The volume (B, 1, D, H, W) of line integrals p (B, 1, view, row, bin); see `fbp` for the options.

    A voxel that some views miss, above or below their detector, gets too little from the others: within the cylinder
    of the radius r that is |z| > (edge of the detector) (R - r) / D.
    """
    fan = geometry.fan
    whole, beyond = completed(fan)
    weighted = p * ray_weights(fan)[:, None].to(p) * obliquity(geometry).to(p)
    q = ramp_filter(pad(weighted, beyond), fan.axis_bin_width, window, cutoff)
    return backproject_cone(q, replace(geometry, bins=whole.bins, offset=(geometry.offset[0], whole.offset)))


def obliquity(geometry: ConeGeometry) -> Tensor:
    """Cosine of the angle between a ray and the central one, (row, bin) float64."""
    distance = geometry.fan.source_to_detector
    u, v = geometry.fan.detector_positions(), geometry.row_positions()[:, None]
    return distance / (distance**2 + u**2 + v**2).sqrt()
