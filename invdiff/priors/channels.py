"""Complex images as twice as many real channels, (re_1..re_C, im_1..im_C), the only place where that form exists."""

import torch
from torch import Tensor


def to_channels(x: Tensor) -> Tensor:
    """(B, C, H, W) complex to (B, 2C, H, W) real; a real image passes unchanged."""
    return torch.cat([x.real, x.imag], 1) if x.is_complex() else x


def from_channels(x: Tensor, is_complex: bool) -> Tensor:
    """The inverse of `to_channels`."""
    return torch.complex(*x.chunk(2, 1)) if is_complex else x
