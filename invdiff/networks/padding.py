"""Images to the next multiple of a size, as networks that halve them need it."""

import torch.nn.functional as F
from torch import Tensor


def pad(x: Tensor, multiple: int, otherwise: str = "replicate") -> Tensor:
    """Reflect at the lower and right edge up to the next multiple.

    otherwise: the mode of `torch.nn.functional.pad` for images that are too small to reflect.
    """
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    if not (bottom or right):
        return x
    fits = bottom < x.shape[-2] and right < x.shape[-1]
    return F.pad(x, (0, right, 0, bottom), mode="reflect" if fits else otherwise)
