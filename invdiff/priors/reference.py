"""What the file of a prior says of its own images: percentiles of what `invdiff.priors.mismatch` measures on them."""

import math
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

KEY = "reference_statistics"  # attribute of a prior, key of its file
P = TypeVar("P")
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class ReferenceStatistics:
    """What `measure` finds on images that the prior was made for: 1st, 50th and 99th percentile over `images` of them.

    sigmas: noise levels, in the prior's units. gain: dB, mean over the levels. spread: of the real components.

    Raises:
        ValueError: numbers that are not in increasing order.
    """

    sigmas: Triple
    gain: Triple
    spread: Triple
    images: int

    def __post_init__(self) -> None:
        for name, (low, middle, high) in (("sigmas", self.sigmas), ("gain", self.gain), ("spread", self.spread)):
            if not -math.inf < low <= middle <= high < math.inf or (name == "gain" and low == middle):
                raise ValueError(f"{name} must be three finite numbers in increasing order, got {(low, middle, high)}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "ReferenceStatistics":
        """The inverse of `to_dict`."""
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
        return cls(**values)


def stored(prior: Any) -> dict[str, Any]:
    """What the file of a prior says of its images; nothing where no statistics were recorded."""
    known: ReferenceStatistics | None = getattr(prior, KEY, None)
    return {} if known is None else {KEY: known.to_dict()}


def restored(prior: P, content: dict[str, Any]) -> P:
    """The prior, with what its file says of its images.

    Raises:
        ValueError: it says something else.
    """
    if KEY in content:
        try:
            setattr(prior, KEY, ReferenceStatistics.from_dict(content[KEY]))
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{KEY} is not what `record` writes: {error}. Record them again.") from error
    return prior
