"""y_trb = int_{ray(t, v, u)} x dl: line integrals of a volume along the rays of a cone from a source on a circle.

Joseph's model in three dimensions: a ray is followed line by line along x or y, whichever it runs along more, and the
volume interpolated between the four nearest voxels, with one ray per voxel of bin width and row height. Rays, axes and
signs: `ct_cone_geometry`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.ct_checks import length, pixel_sizes, volume_sizes
from invdiff.operators.ct_cone_geometry import ConeGeometry
from invdiff.operators.ct_cone_tables import cone_tables, seen_voxels
from invdiff.operators.kernels import cone_projection, projection
from invdiff.operators.kernels.cone_rays import ConeRays
from invdiff.operators.kernels.rays import Rays


class ConeProjector(LinearOperator):
    """Volumes (B, 1, D, H, W) in mm^-1 to projections (B, 1, view, row, bin); the adjoint is the exact transpose.

    Use `ConeBeamCT`, or this class with a geometry at hand.

    Args:
        geometry: of the scan.

    `support` holds the voxels that a ray of a full turn may see, or None where that is all of them. Volumes and
    projections are float32 or float64. On a CPU compiled kernels run, the same to the bit for any number of threads, on
    CUDA those of `cone_triton`; on other devices plain torch does, view by view.
    """

    unit: Tensor
    views: Tensor
    lines: Tensor
    slopes: Tensor

    def __init__(self, geometry: ConeGeometry) -> None:
        super().__init__((1, *geometry.shape), (1, geometry.views, geometry.rows, geometry.bins), complex_in=False)
        self.geometry = geometry
        rays = cone_tables(geometry)
        self.scan, self.per_bin, self.heights = rays.plane.scan, rays.plane.per_bin, rays[2:]
        # As bit patterns, which no change of precision rounds; `unit` tells the operator's precision instead.
        for name, table in (("views", rays.plane.views), ("lines", rays.plane.lines), ("slopes", rays.slopes)):
            self.register_buffer(name, table.view(torch.int64), persistent=False)
        self.register_buffer("unit", torch.ones((), dtype=torch.float32), persistent=False)
        self.support = seen_voxels(geometry)

    @property
    def rays(self) -> ConeRays:
        views, lines, slopes = (table.view(torch.float64) for table in (self.views, self.lines, self.slopes))
        return ConeRays(Rays(views, lines, self.scan, self.per_bin), slopes, *self.heights)

    @property
    def kernels(self) -> str:
        """Which code runs on the operator's device: "numba", "triton" or "torch"."""
        return projection.kernels(self.device, "cone")

    def forward(self, x: Tensor) -> Tensor:
        return cone_projection.project(x.flatten(0, 1), self.rays).unflatten(0, x.shape[:2])

    def _adjoint(self, y: Tensor) -> Tensor:
        return cone_projection.adjoint(y.flatten(0, 1), self.rays, self.shape_in[1:]).unflatten(0, y.shape[:2])

    def check_measurement(self, y: Tensor) -> None:
        if y.ndim != 5 or tuple(y.shape[2:]) != self.shape_out[1:]:
            views, rows, bins = self.shape_out[1:]
            raise ValueError(
                f"{self.name}: the geometry has {views} views of {rows} rows of {bins} bins and the projections are "
                f"{tuple(y.shape)}, wanted (B, 1, view, row, bin). Order their axes so, or give the operator the "
                "angles, rows and bins of these projections."
            )
        super().check_measurement(y)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, (B, 1, view, row, bin) to (B, 1, D, H, W): each ray spread over the voxels that it saw."""
        self.check_measurement(y)
        return super().adjoint(y)


class ConeBeamCT(ConeProjector):
    """Circular cone-beam scan with a flat detector: volumes (B, 1, D, H, W) in mm^-1 to (B, 1, view, row, bin).

    Args:
        angles: of the views, radians, (view,). The source of view t is at source_distance (sin t, -cos t, 0), bins
            count along (cos t, sin t, 0) and rows along z, from the lowest.
        shape: (D, H, W) of the volume; slice k is at z = (k - (D - 1) / 2) dz, slice 0 the lowest. Within a slice as
            for `FanBeamCT`, which sees the plane z = 0 alike.
        rows, bins: of the detector.
        source_distance: from the source to the axis, mm.
        detector_distance: from the axis to the detector, mm.
        pixel: size of a voxel in mm, one number or (dz, dy, dx).
        bin_width: on the detector, mm; None: the smaller of dy and dx, magnified.
        row_height: on the detector, mm; None: dz, magnified.
        offset: displacement of the detector (rows, bins), in bins.
        center: (z, y, x) of the volume's centre in mm from the axis and the plane of the source.

    Raises:
        ValueError: values that make no scan, such as a source inside the volume, or rays so steep that they would
            skip slices; see `ct_cone_geometry`.

    Example:
        >>> op = ConeBeamCT([0.0, 3.0], (3, 4, 4), rows=5, bins=6, source_distance=20.0, detector_distance=20.0)
        >>> op(torch.ones(1, 1, 3, 4, 4)).shape
        torch.Size([1, 1, 2, 5, 6])

    Source: Joseph, An Improved Algorithm for Reprojecting Rays through Pixel Images, 1982.
    Differs: three dimensions; rays are never followed along z.
    """

    def __init__(
        self,
        angles: Any,
        shape: Sequence[int],
        rows: int,
        bins: int,
        *,
        source_distance: float,
        detector_distance: float,
        pixel: Any = 1.0,
        bin_width: float | None = None,
        row_height: float | None = None,
        offset: tuple[float, float] = (0.0, 0.0),
        center: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        dz, dy, dx = pixel_sizes(pixel, ("dz", "dy", "dx"))
        magnification = 1 + detector_distance / length("source_distance", source_distance)
        geometry = ConeGeometry(
            angles,
            volume_sizes(shape),
            rows,
            bins,
            source_distance=source_distance,
            detector_distance=detector_distance,
            bin_width=min(dy, dx) * magnification if bin_width is None else bin_width,
            row_height=dz * magnification if row_height is None else row_height,
            pixel=(dz, dy, dx),
            offset=offset,
            center=center,
        )
        super().__init__(geometry)
