"""y_tb = 1 / w int_{bin b} du int_{ray(t, u)} x dl: line integrals of an image, averaged over bins of width w.

Joseph's model: a ray is followed line by line of the image and the image interpolated between the two nearest pixels,
with one ray per pixel of bin width; the strip model is optional. Rays, axes and signs: `ct_geometry`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.ct_checks import default_bins, pixel_pair
from invdiff.operators.ct_geometry import FanGeometry, Geometry, ParallelGeometry
from invdiff.operators.ct_tables import ray_tables, seen_pixels
from invdiff.operators.kernels import projection
from invdiff.operators.kernels.projection_matrix import projection_matrix
from invdiff.operators.kernels.rays import Rays
from invdiff.operators.linear_map import linear_map

MODELS, MODES = ("joseph", "strip"), ("auto", "matrix")


class Projector(LinearOperator):
    """Images (B, C, H, W) in mm^-1 to sinograms (B, C, view, bin), dimensionless; the adjoint is the exact transpose.

    What all scans have in common; use `ParallelBeamCT` or `FanBeamCT`, or this class with a geometry at hand.

    Args:
        geometry: of the scan.
        channels: C, projected one by one.
        model: "joseph", or "strip": the exact mean over the strip that a bin sees, of pixels as little squares; many
            times slower and no better at one ray per pixel of bin width, hence a reference.
        mode: "auto" stores nothing that grows with views x pixels; "matrix" keeps A and its transpose as sparse
            matrices, which takes about 30 bytes per view and pixel, seconds to build, and is faster on batches.

    `support` holds the pixels that some ray may see, or None where that is all of them. Images and sinograms are
    float32 or float64. Positions are computed in double precision whatever the operator is moved to.
    """

    family = "ct"
    unit: Tensor
    views: Tensor
    lines: Tensor

    def __init__(self, geometry: Geometry, channels: int = 1, model: str = "joseph", mode: str = "auto") -> None:
        if mode not in MODES:
            raise ValueError(f"mode must be 'auto' or 'matrix', got {mode!r}.")
        if model not in MODELS:
            raise ValueError(f"model must be 'joseph' or 'strip', got {model!r}.")
        super().__init__((channels, *geometry.shape), (channels, geometry.views, geometry.bins), complex_in=False)
        self.geometry = geometry
        rays = ray_tables(geometry, model)
        self.scan, self.per_bin = rays.scan, rays.per_bin
        # As bit patterns, which no change of precision rounds; `unit` tells the operator's precision instead.
        self.register_buffer("views", rays.views.view(torch.int64), persistent=False)
        self.register_buffer("lines", rays.lines.view(torch.int64), persistent=False)
        self.register_buffer("unit", torch.ones((), dtype=torch.float32), persistent=False)
        self.support = seen_pixels(geometry)
        self.matrix = projection_matrix(rays, geometry.shape) if mode == "matrix" else None

    @property
    def rays(self) -> Rays:
        return Rays(self.views.view(torch.float64), self.lines.view(torch.float64), self.scan, self.per_bin)

    @property
    def kernels(self) -> str:
        """Which code runs on the operator's device: "numba", "triton" or "torch"; "matrix" where one is stored."""
        if self.matrix is not None:
            return "matrix"
        return projection.kernels(self.device, self.rays.model)

    def forward(self, x: Tensor) -> Tensor:
        if self.matrix is not None:
            return linear_map(x, self._multiply, self._multiply_transposed)
        return projection.project(x.flatten(0, 1), self.rays).unflatten(0, x.shape[:2])

    def _adjoint(self, y: Tensor) -> Tensor:
        if self.matrix is not None:
            return linear_map(y, self._multiply_transposed, self._multiply)
        return projection.adjoint(y.flatten(0, 1), self.rays, self.shape_in[1:]).unflatten(0, y.shape[:2])

    def _multiply(self, x: Tensor) -> Tensor:
        assert self.matrix is not None
        return self.matrix(self._columns(x)).T.reshape(len(x), *self.shape_out)

    def _multiply_transposed(self, y: Tensor) -> Tensor:
        assert self.matrix is not None
        return self.matrix.transposed(self._columns(y)).T.reshape(len(y), *self.shape_in)

    def _columns(self, x: Tensor) -> Tensor:
        """(B, C, m, n) to (m * n, B * C), at the precision of the matrix."""
        if x.dtype != self.unit.dtype:
            raise TypeError(f"{self.name} holds a matrix of {self.unit.dtype}, got {x.dtype}. Move it: op.to(x.dtype).")
        return x.flatten(2).flatten(0, 1).T.contiguous()

    def check_measurement(self, y: Tensor) -> None:
        views, bins = self.shape_out[-2:]
        if y.shape[-2:] == (bins, views) != (views, bins):
            raise ValueError(f"{self.name}: the sinogram is (bin, view), {bins} x {views}; use y.mT, (view, bin).")
        if y.shape[-1:] != (bins,) or y.shape[-2:-1] != (views,):
            raise ValueError(
                f"{self.name}: the geometry has {views} views of {bins} bins and the sinogram is {tuple(y.shape)}, "
                "wanted (B, C, view, bin). Give the operator the angles and bins of this sinogram."
            )
        super().check_measurement(y)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, (B, C, view, bin) to (B, C, H, W): each ray spread over the pixels that it saw; no backprojector."""
        self.check_measurement(y)
        return super().adjoint(y)


class ParallelBeamCT(Projector):
    """Parallel-beam scan: images (B, C, H, W) in mm^-1 to sinograms (B, C, view, bin).

    Args:
        angles: of the views, radians, (view,); any order and spacing. View t has the rays x cos t + y sin t = s.
        shape: (H, W) or (C, H, W) of the image.
        bins: of the detector; None: as many as cover the image's diagonal.
        pixel: size of a pixel in mm, one number or (dy, dx).
        bin_width: of a bin, mm; None: the smaller side of a pixel.
        offset: displacement of the detector in bins (0.25: quarter-detector shift).
        center: (y, x) of the image's centre in mm from the axis, for a region of interest.
        model: "joseph" or "strip". mode: "auto" or "matrix". See `Projector`.

    Raises:
        ValueError: values that make no scan, such as angles in degrees; see `ct_geometry`.

    Example:
        >>> op = ParallelBeamCT([0.0, 1.5707963], (4, 4), bins=4)
        >>> op(torch.ones(1, 1, 4, 4)).shape
        torch.Size([1, 1, 2, 4])

    Source: Joseph, An Improved Algorithm for Reprojecting Rays through Pixel Images, 1982.
    """

    def __init__(
        self,
        angles: Any,
        shape: Sequence[int],
        bins: int | None = None,
        *,
        pixel: Any = 1.0,
        bin_width: float | None = None,
        offset: float = 0.0,
        center: tuple[float, float] = (0.0, 0.0),
        model: str = "joseph",
        mode: str = "auto",
    ) -> None:
        channels, sizes = _image_shape(shape)
        pixel = pixel_pair(pixel)
        width = min(pixel) if bin_width is None else bin_width
        count = default_bins(sizes, pixel, width) if bins is None else bins
        geometry = ParallelGeometry(angles, sizes, count, bin_width=width, pixel=pixel, offset=offset, center=center)
        super().__init__(geometry, channels, model, mode)


class FanBeamCT(Projector):
    """Fan-beam scan: images (B, C, H, W) in mm^-1 to sinograms (B, C, view, bin).

    Args:
        angles: of the views, radians, (view,): a full turn, a short scan or any other. The source of view t is at
            source_distance (sin t, -cos t) and bins count along (cos t, sin t).
        shape: (H, W) or (C, H, W) of the image.
        bins: of the detector.
        source_distance: from the source to the axis, mm.
        detector_distance: from the axis to the detector, mm.
        detector: "flat", or "curved" on a circle about the source.
        pixel, offset, center, model, mode: as for `ParallelBeamCT`.
        bin_width: on the detector, mm; None: the smaller side of a pixel, magnified.

    Raises:
        ValueError: values that make no scan, such as a source inside the image; see `ct_geometry`.

    Example:
        >>> op = FanBeamCT([0.0, 3.0], (4, 4), bins=6, source_distance=20.0, detector_distance=20.0)
        >>> op(torch.ones(1, 1, 4, 4)).shape
        torch.Size([1, 1, 2, 6])

    Source: Joseph, An Improved Algorithm for Reprojecting Rays through Pixel Images, 1982.
    """

    def __init__(
        self,
        angles: Any,
        shape: Sequence[int],
        bins: int,
        *,
        source_distance: float,
        detector_distance: float,
        detector: str = "flat",
        pixel: Any = 1.0,
        bin_width: float | None = None,
        offset: float = 0.0,
        center: tuple[float, float] = (0.0, 0.0),
        model: str = "joseph",
        mode: str = "auto",
    ) -> None:
        channels, sizes = _image_shape(shape)
        pixel = pixel_pair(pixel)
        magnified = 1 + detector_distance / source_distance if source_distance else 1.0  # 0 is refused below
        width = min(pixel) * magnified if bin_width is None else bin_width
        geometry = FanGeometry(
            angles,
            sizes,
            bins,
            bin_width=width,
            pixel=pixel,
            offset=offset,
            center=center,
            source_distance=source_distance,
            detector_distance=detector_distance,
            detector=detector,
        )
        super().__init__(geometry, channels, model, mode)


def _image_shape(shape: Sequence[int]) -> tuple[int, tuple[int, int]]:
    """Channels, and (H, W)."""
    sizes = tuple(int(n) for n in shape)
    if len(sizes) not in (2, 3):
        raise ValueError(f"shape must be (H, W) or (C, H, W) of the image, got {sizes}.")
    return (1 if len(sizes) == 2 else sizes[0]), (sizes[-2], sizes[-1])
