"""y -> x: how an operator is asked for an image to begin with, by `Operator.first_image`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from invdiff.random import Noise


@dataclass(frozen=True)
class Search:
    """What the image is to be, and what to go by.

    noise: of random starts, a stream for each item.
    is_complex: whether the image is.
    low: least value of a real image, a number or (B,).
    used: the entries of y to go by, broadcastable to it; None for all that are measured.
    settings: the operator's own.
    """

    noise: Noise
    is_complex: bool
    low: Tensor | float = -math.inf
    used: Tensor | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def among(self, sampled: Tensor | None) -> "Search":
        """The same, by the entries `sampled` where it does not say by which."""
        return replace(self, used=sampled) if self.used is None else self
