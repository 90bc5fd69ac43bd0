"""y = m x with m in {0, 1}: pixels are seen or missing."""

from typing import Any

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.mask import binary_mask, sampling_mask
from invdiff.operators.svd import SVD
from invdiff.shapes import Shape


class Inpainting(LinearOperator):
    """Keep the sampled pixels; y has the shape of the image, with zeros (never -0) where nothing was sampled.

    Args:
        mask: (W,), (H, W), (C, H, W) or (B, C, H, W), bool or 0/1, 1 = seen; C may be 1 for all channels. With a
            batch axis above one the operator fits that batch only.
        shape: (C, H, W) of the images, real or complex. None takes it from the mask, whose channel count is then 1
            if it is (H, W); a mask (W,) needs it.

    Raises:
        ValueError: a mask of the wrong size, with values other than 0 and 1, or with nothing sampled.

    Example:
        >>> op = Inpainting([[1, 0, 1]], shape=(1, 1, 3))
        >>> op(torch.ones(1, 1, 1, 3)).tolist()
        [[[[1.0, 0.0, 1.0]]]]
    """

    pointwise = True
    family = "inpainting"
    sampled: Tensor

    def __init__(self, mask: Any, shape: Shape | None = None) -> None:
        shape = _image_shape(binary_mask(mask, "Inpainting")) if shape is None else shape
        if len(shape) != 3:
            raise ValueError(f"Inpainting: shape must be (C, H, W), got {tuple(shape)}.")
        super().__init__(shape, shape)
        self.sampled = sampling_mask(mask, self.shape_in, "Inpainting")
        self.batch = len(self.sampled)

    def _select(self, x: Tensor) -> Tensor:
        return torch.where(self.sampled, x, torch.zeros((), dtype=x.dtype, device=x.device))

    def forward(self, x: Tensor) -> Tensor:
        return self._select(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._select(y)

    def normal(self, x: Tensor) -> Tensor:
        return self(x)

    def norm(self) -> float:
        return 1.0

    def pinv(self, y: Tensor, iterations: int = 50) -> Tensor:
        """The seen pixels, and zero elsewhere."""
        return self.adjoint(y)

    def _closed_prox(self, z: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        """(y + rho z) / (1 + rho) where a pixel is seen, z elsewhere."""
        return torch.where(self.sampled, (y + rho * z) / (1 + rho), z)

    def svd(self, is_complex: bool) -> SVD:
        """Pixels are the singular vectors, the mask the values."""
        return SVD(self.sampled.float(), Tensor.clone, Tensor.clone, self.adjoint)


def _image_shape(mask: Tensor) -> Shape:
    if mask.ndim not in (2, 3, 4):
        raise ValueError(f"Inpainting: a mask of shape {tuple(mask.shape)} needs shape=(C, H, W) of the images.")
    return (1, *mask.shape) if mask.ndim == 2 else tuple(mask.shape[-3:])
