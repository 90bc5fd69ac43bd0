"""p(r, c, s) = centre + dr (r - h // 2) u_r + dc (c - w // 2) u_c + ds s u_s: where the pixels of an image lie.

r, c, s count rows, columns and slices; u are unit vectors and p is in mm, both in patient coordinates x to the left, y
to the back, z to the head (LPS, as in DICOM). NIfTI counts x to the right and y to the front (RAS). The field of view
is centred on pixel (h // 2, w // 2), where the transform puts it, so cropping about the centre leaves a geometry alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]

# Rows grow downwards on a radiologist's screen, columns to the right; the patient lies on the back.
_PLANES: dict[str, tuple[Vector, Vector, Vector]] = {
    "axial": ((0, 1, 0), (1, 0, 0), (0, 0, 1)),
    "coronal": ((0, 0, -1), (1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
}
PLANES = tuple(_PLANES)


@dataclass(frozen=True)
class Geometry:
    """Of a volume (slices, h, w).

    Attributes:
        spacing: distance of rows, of columns and of slices, mm.
        directions: u_r, u_c, u_s; None where the orientation is not known.
        centre: of the field of view of slice 0, mm; None where it is not known.
        assumed: whether the directions are somebody's word and not the scanner's.
    """

    spacing: Vector
    directions: tuple[Vector, Vector, Vector] | None = None
    centre: Vector | None = None
    assumed: bool = False

    def __post_init__(self) -> None:
        if not all(0 < d < 1e4 for d in self.spacing):
            raise ValueError(f"spacing must be three positive lengths in mm, got {self.spacing}.")
        if self.directions is not None:
            units = np.array(self.directions)
            if not np.allclose(units @ units.T, np.eye(3), atol=1e-3):
                raise ValueError(f"directions must be three unit vectors at right angles, got {self.directions}.")

    def facing(self, plane: str) -> "Geometry":
        """The same spacing, with the directions of a standard plane ("axial", "coronal", "sagittal") assumed."""
        if plane not in _PLANES:
            raise ValueError(f"plane must be {', '.join(_PLANES)}, got {plane!r}.")
        return Geometry(self.spacing, _PLANES[plane], (0.0, 0.0, 0.0), True)

    def position(self, r: float, c: float, s: float, shape: tuple[int, int]) -> NDArray[np.float64]:
        """LPS mm of a pixel of slices of `shape` (h, w), (3,).

        Raises:
            ValueError: the orientation is not known.
        """
        if self.directions is None:
            raise ValueError("the orientation of these slices is not known; state the plane.")
        steps = np.array([r - shape[0] // 2, c - shape[1] // 2, s]) * self.spacing
        return np.array(self.centre or (0.0, 0.0, 0.0)) + steps @ np.array(self.directions)

    def affine(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """RAS mm of the voxel (c, r, s) of a volume stored columns first, (4, 4)."""
        origin = self.position(0, 0, 0, shape)
        ends = [self.position(*step, shape) for step in ((0, 1, 0), (1, 0, 0), (0, 0, 1))]
        affine = np.eye(4)
        affine[:3, :3] = np.stack([end - origin for end in ends], axis=1)
        affine[:3, 3] = origin
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
