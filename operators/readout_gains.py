"""y_cs(t) = a_s (A_s x_c)(t): one complex gain a_s per read-out, found where read-outs overlap.

All spokes (and interleaves) cross the centre of k-space and must agree there. Magnetisation on its way to the steady
state changes their amplitude, and eddy currents of the gradients their phase; dividing by a_s takes both out. Gains and
low-resolution images x_c of all coils are found in turns, each by least squares, with mean |a| = 1.

Source: Moussavi et al., Correction of Gradient-Induced Phase Errors in Radial MRI, 2014, for the phases.
Differs: read-outs are compared with the image that all of them make, not fitted by a model of the gradients, and the
amplitude is free too.
"""

import math

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.linalg import cg
from invdiff.operators.noncartesian import NonCartesianMRI


def readout_gains(samples: Tensor, trajectory: Tensor, reach: float = 6.0, iterations: int = 10) -> Tensor:
    """a, (read-outs,) complex: divide read-out s of the samples by a_s.

    Args:
        samples: (coil, read-outs, n) complex. trajectory: (read-outs, n, 2), cycles per field of view.
        reach: radius about the centre of k-space that is used, in cycles; with S spokes up to S / pi is well sampled.
        iterations: turns.

    Raises:
        TypeError: real samples.
        ValueError: shapes that disagree, an option out of range, or a read-out that does not come near the centre.
    """
    require("reach", reach, at_least=2)
    require("iterations", iterations, at_least=1)
    near, owner = _central(samples, trajectory, reach)
    y, count = samples[:, near], len(trajectory)
    n = 2 * math.ceil(reach) + 2
    op = NonCartesianMRI(trajectory[near], shape=(n, n), accuracy="high").to(samples.device)
    op = op.double() if samples.dtype == torch.complex128 else op
    a = torch.ones(count, dtype=samples.dtype, device=samples.device)
    for _ in range(iterations):
        b = op.adjoint((y / a[owner])[:, None])
        p = op(cg(op.normal, b, iterations=20, tol=1e-6))[:, 0]  # what all read-outs together say, (coil, m)
        overlap, power = (p.conj() * y).sum(0), p.abs().square().sum(0).to(y.dtype)
        a = torch.zeros_like(a).index_add_(0, owner, overlap) / torch.zeros_like(a).index_add_(0, owner, power)
        a = a / a.abs().mean()
    return a


def _central(samples: Tensor, trajectory: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Which samples lie within reach, (read-outs, n) bool, and the read-out that each of them belongs to, (m,)."""
    if not samples.is_complex():
        raise TypeError(f"samples must be complex (coil, read-outs, n), got {samples.dtype}.")
    if samples.ndim != 3 or tuple(trajectory.shape) != (*samples.shape[1:], 2):
        raise ValueError(
            f"samples (coil, read-outs, n) and trajectory (read-outs, n, 2) must agree, got {tuple(samples.shape)} and "
            f"{tuple(trajectory.shape)}."
        )
    near = trajectory.norm(dim=-1) <= reach
    if not bool(near.any(1).all()):
        first = int((~near.any(1)).nonzero()[0])
        raise ValueError(
            f"read-out {first} does not come within {reach:g} cycles of the centre of k-space, so its gain cannot be "
            "found; leave it out, or raise reach."
        )
    return near, near.nonzero()[:, 0].to(samples.device)
