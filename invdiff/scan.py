"""y = A x + n: what every file of measurements becomes, one slice at a time, whatever it was measured with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from invdiff.data.geometry import Geometry
from invdiff.data.header import Header
from invdiff.operators.base import LinearOperator


def first_channel(x: Tensor) -> Tensor:
    """(1, C, H, W) to (H, W)."""
    return x[0, 0]


@dataclass(frozen=True)
class Slice:
    """One slice ready to solve.

    Attributes:
        y: its measurement, (1, *op.shape_out).
        op: the forward operator.
        sampling: what was measured, in words: "4.00x".
        reference: (H', W') float32 that scores are taken from, or None; nothing else may come from it.
        sigma_y: noise per real component where the file tells, a number or one for every entry of y; None leaves it to
            the operator.
        image: from a solution (1, C, H, W) to the image (H, W) that is written.
        data_range: of the reference, for scores; None takes its maximum.
        repaired: points of the measurement that had no value and count as not sampled.
    """

    y: Tensor
    op: LinearOperator
    sampling: str
    reference: Tensor | None = None
    sigma_y: float | Tensor | None = None
    image: Callable[[Tensor], Tensor] = first_channel
    data_range: float | None = None
    repaired: int = 0


class Scan(Protocol):
    """An opened file.

    Attributes:
        path, format: the file, and what it is.
        shape: (slices, h, w) of the images before they are cropped.
        crop: (h', w') to show, or None.
        geometry, header: where the pixels lie and facts of the scan, where the file tells.
        prior, baseline: names of the packaged prior for such images, and of the plain method to compare with.
    """

    @property
    def path(self) -> Path: ...
    @property
    def format(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def crop(self) -> tuple[int, int] | None: ...
    @property
    def geometry(self) -> Geometry | None: ...
    @property
    def header(self) -> Header | None: ...
    @property
    def prior(self) -> str: ...
    @property
    def baseline(self) -> str: ...

    def slice(self, i: int) -> Slice | None:
        """Slice i, None where it is empty."""
        ...

    def record(self) -> dict[str, Any]:
        """How slices are made from the file, for the attributes of the output."""
        ...


class Opened(Protocol):
    """A file of measurements whose structure has been checked."""

    @property
    def path(self) -> Path: ...
    @property
    def format(self) -> str: ...


F = TypeVar("F", bound=Opened)


@dataclass(frozen=True)
class FileScan(Generic[F]):
    """What a `Scan` takes from its file as it is; images are shown whole, unless a kind of scan knows better."""

    file: F

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def format(self) -> str:
        return self.file.format

    @property
    def crop(self) -> tuple[int, int] | None:
        return None
