"""One Cartesian and one radial problem, of odd and even sizes, that other implementations solve too."""

from dataclasses import dataclass

import torch
from torch import Tensor

from invdiff.data.coils import simulate_maps
from invdiff.data.masks import cartesian_mask
from invdiff.data.phantom import head_phantom, smooth_phase
from invdiff.data.trajectories import radial
from invdiff.operators import CartesianMRI, LinearOperator, NonCartesianMRI

SHAPE, COILS, SIGMA, RHO = (33, 30), 4, 0.01, 0.02


@dataclass(frozen=True)
class Example:
    """Maps (coil, h, w), an image (h, w), an operator and its measurement, (1, ...)."""

    maps: Tensor
    image: Tensor
    op: LinearOperator
    y: Tensor

    def solution(self) -> Tensor:
        """argmin |A x - y|^2 + rho |x|^2, converged."""
        z = torch.zeros(1, *self.op.shape_in, dtype=torch.complex64)
        return self.op.prox(z, self.y, RHO, iterations=200, tol=1e-7)[0, 0]


MASK = cartesian_mask(SHAPE[1], 2.5, 8)
TRAJECTORY = radial(25, SHAPE, order="golden")


def cartesian(shape: tuple[int, int] = SHAPE) -> Example:
    """Of another height, where one is given."""
    return _example(CartesianMRI(MASK, simulate_maps(COILS, shape)), shape)


def noncartesian(shape: tuple[int, int] = SHAPE, trajectory: Tensor = TRAJECTORY) -> Example:
    """At high accuracy, so that what differs is the other's error."""
    return _example(NonCartesianMRI(trajectory.flatten(0, 1), simulate_maps(COILS, shape), accuracy="high"), shape)


def _example(op: LinearOperator, shape: tuple[int, int]) -> Example:
    phase = smooth_phase(shape)
    image = head_phantom(shape) * torch.polar(torch.ones_like(phase), phase)
    return Example(simulate_maps(COILS, shape), image, op, op.simulate(image[None, None], SIGMA))


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative, after a check that the shapes agree, which flattening would hide."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).norm() / theirs.norm())
