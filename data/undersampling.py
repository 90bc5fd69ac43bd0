"""mask = kind(shape, acceleration, share of centre lines, seed or file name): masks for retrospective experiments.

One table for the command line and the recipes; what it draws with is in `masks`, `masks_fastmri` and `masks_points`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from invdiff.checks import nearest, require
from invdiff.data.mask_files import load_mask
from invdiff.data.masks import cartesian_mask
from invdiff.data.masks_fastmri import fastmri_mask
from invdiff.data.masks_points import poisson_mask, radial_mask, spiral_mask


@dataclass(frozen=True)
class Undersampling:
    """How fully sampled k-space is undersampled.

    Attributes:
        kind: a key of `KINDS`, or the path of a mask file.
        acceleration: wanted grid points per sampled point; a mask file has its own.
        centre: share of lines, or of each side of the block of points, that is fully sampled at the centre.
        seed: of the kinds that are not seeded with the file name.
    """

    kind: str = "random"
    acceleration: float = 4.0
    centre: float = 0.08
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS and not Path(self.kind).is_file():
            raise ValueError(f"{self.kind!r} is neither a kind of mask nor a mask file.{nearest(self.kind, KINDS)}")
        require("acs", self.centre, at_least=0, at_most=1)

    def mask(self, shape: tuple[int, int], name: str = "") -> Tensor:
        """Bool (w,) or (h, w).

        Args:
            shape: (h, w) of k-space.
            name: of the file with its ending, which seeds the kinds "fastmri-...".

        Raises:
            ValueError: numbers that contradict each other. DataError: a mask file of another shape.
        """
        return KINDS[self.kind](self, shape, name) if self.kind in KINDS else load_mask(self.kind, shape)


Draw = Callable[[Undersampling, tuple[int, int], str], Tensor]


def _random(u: Undersampling, shape: tuple[int, int], name: str) -> Tensor:
    return cartesian_mask(shape[1], u.acceleration, round(u.centre * shape[1]), kind="random", seed=u.seed)


def _equispaced(u: Undersampling, shape: tuple[int, int], name: str) -> Tensor:
    return cartesian_mask(shape[1], u.acceleration, round(u.centre * shape[1]), kind="equispaced", seed=u.seed)


def _fastmri(kind: str) -> Draw:
    def draw(u: Undersampling, shape: tuple[int, int], name: str) -> Tensor:
        return fastmri_mask(shape[1], u.acceleration, u.centre, kind, seed=name)[0]

    return draw


def _poisson(u: Undersampling, shape: tuple[int, int], name: str) -> Tensor:
    return poisson_mask(shape, u.acceleration, (round(u.centre * shape[0]), round(u.centre * shape[1])), seed=u.seed)


def _radial(u: Undersampling, shape: tuple[int, int], name: str) -> Tensor:
    spokes = shape[0] * shape[1] / (u.acceleration * max(shape))
    return radial_mask(shape, max(1, round(spokes)))


def _spiral(u: Undersampling, shape: tuple[int, int], name: str) -> Tensor:
    return spiral_mask(shape, 1, max(1.0, 2 * max(shape) / (math.pi * u.acceleration)))


KINDS: dict[str, Draw] = {
    "random": _random,
    "equispaced": _equispaced,
    "fastmri-random": _fastmri("random"),
    "fastmri-equispaced": _fastmri("equispaced"),
    "fastmri-equispaced-fraction": _fastmri("equispaced_fraction"),
    "fastmri-magic": _fastmri("magic"),
    "fastmri-magic-fraction": _fastmri("magic_fraction"),
    "poisson": _poisson,
    "radial": _radial,  # about the wanted acceleration: spokes overlap at the centre
    "spiral": _spiral,
}
