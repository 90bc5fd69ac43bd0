"""|J(x)| = max_u |J(x) u| / |u| at a random image x near zero: the scale of an operator that is not linear.

By power iteration on J^H J, with J u from central differences and J^H v from `vjp`. Solvers divide their steps by it,
so that one setting serves operators of any scale. In a prior's units zero is about the middle of its images; x is near
it, not at it, where a magnitude has no derivative: 0.1, and less where the operator's own `reach` is less than 1.
"""

import torch

from invdiff.operators.base import Operator
from invdiff.random import streams
from invdiff.shapes import norm, over

SIZE, STEP, ITERATIONS = 0.1, 0.01, 12  # root mean squares of x and of its changes, in units of its reach


def local_norm(op: Operator) -> float:
    """|J(x)|, the largest of the items that `op` holds tensors for; from below, by a few per cent at most.

    Raises:
        ValueError: A is not finite there.
    """
    reach = min(op.reach(), 1.0)
    step = STEP * reach
    noise, _ = streams(0, 2, device=op.device)
    x, u = noise.like(torch.empty(2, *op.shape_in, dtype=op.dtype_in)).split(1)
    x, u = (v.expand(op.batch, *op.shape_in) for v in (SIZE * reach * x, u))
    value = torch.zeros(())
    for _ in range(ITERATIONS):
        u = u / over((norm(u) / x[0].numel() ** 0.5).clamp(min=torch.finfo(x.dtype).tiny), u)
        change = (op(x + step * u) - op(x - step * u)) / (2 * step)
        u = op.vjp(x, change)
        value = (norm(u) / x[0].numel() ** 0.5).max().sqrt()
    if not bool(torch.isfinite(value)):
        raise ValueError(f"{op.name} is not finite near zero, so its scale is not known. Give its class a norm().")
    return float(value)
