"""b(x, y) = sum over views of q_t(u(x, y)) / L^2: values of filtered projections, read where the ray of a pixel ends.

Linear interpolation between bins; L is 1 for a parallel beam, for a fan beam the distance of the pixel from the source
(curved detector), or its part along the central ray (flat detector), in units of the source's distance from the axis.
This is no adjoint of a projector: that one spreads each ray over the pixels it crosses.

Source: Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, sections 3.3 and 3.4.
"""

import math

import torch
from torch import Tensor

from invdiff.operators.ct_geometry import FanGeometry, Geometry
from invdiff.operators.ct_tables import ray_tables
from invdiff.operators.kernels.backend import backend


def backproject(q: Tensor, geometry: Geometry) -> Tensor:
    """(B, C, view, bin) to (B, C, H, W); rays beyond the detector count as 0.

    Args:
        q: filtered projections, any real dtype.
        geometry: of the scan and of the image.

    On a CPU a compiled kernel runs, but where a gradient is asked for or for half precision.
    """
    if compiled(q):
        from invdiff.operators.kernels import backprojection_numba

        x = backprojection_numba.backproject(q.flatten(0, 1), ray_tables(geometry), geometry.shape)
        return x.unflatten(0, q.shape[:2])
    return reference(q, geometry)


def compiled(q: Tensor) -> bool:
    """Whether a compiled kernel backprojects this."""
    known = q.dtype in (torch.float32, torch.float64) and not q.requires_grad
    return known and backend(q.device, ("numba", "torch")) == "numba"


def reference(q: Tensor, geometry: Geometry) -> Tensor:
    """`backproject` in plain torch, view by view."""
    rows, columns = (c.to(q) for c in geometry.coordinates())
    y, x = rows[:, None], columns
    out = torch.zeros((*q.shape[:2], len(rows) * len(columns)), dtype=q.dtype, device=q.device)
    padded = torch.nn.functional.pad(q, (1, 2))
    first = float(geometry.detector_positions()[0])
    for v, angle in enumerate(geometry.angles):
        place = (geometry.shadow(angle, y, x) - first) / geometry.bin_width
        place = place.clamp(-1, geometry.bins).flatten() + 1
        left = place.floor()
        part, index = place - left, left.long()
        row = padded[:, :, v]
        value = row[..., index] * (1 - part) + row[..., index + 1] * part
        out += value * _weight(geometry, angle, y, x)
    return out.reshape(*q.shape[:2], *geometry.shape)


def _weight(geometry: Geometry, angle: float, y: Tensor, x: Tensor) -> Tensor | float:
    """1 / L^2 of the pixels (y, x), flattened."""
    if not isinstance(geometry, FanGeometry):
        return 1.0
    depth = geometry.source_distance + y * math.cos(angle) - x * math.sin(angle)
    across = 0.0 if geometry.detector == "flat" else x * math.cos(angle) + y * math.sin(angle)
    return (geometry.source_distance**2 / (depth**2 + across**2)).flatten()
