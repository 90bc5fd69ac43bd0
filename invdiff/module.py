"""A module whose tensors keep their imaginary parts when it moves: base of operators and priors.

`torch.nn.Module.to(torch.float64)` casts complex buffers to a real dtype and so drops half of them.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound="Movable")


class Movable(nn.Module):
    """`nn.Module` for which a dtype means a precision: real tensors stay real and complex ones complex."""

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """As `nn.Module.to`, except that a real dtype turns complex buffers into the matching complex dtype."""
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)

        def convert(t: Tensor) -> Tensor:
            target = None
            if dtype is not None and (t.is_floating_point() or t.is_complex()):
                target = dtype.to_complex() if t.is_complex() else dtype.to_real()
            return t.to(device, target, non_blocking)

        return self._apply(convert)

    def double(self: M) -> M:
        return self.to(torch.float64)

    def float(self: M) -> M:
        return self.to(torch.float32)
