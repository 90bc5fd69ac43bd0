"""Masks of other rules, to compare learned ones with at the same share of parameters.

    random; magnitude |theta|; SNIP |theta dL/dtheta|; GraSP theta (H g), g = dL/dtheta, H the Hessian of L;
    SynFlow and iterative magnitude: see `synflow`, `iterative_magnitude`

with L = |A g_theta(z) - y|^2 / n. The largest are kept, over all layers together. As in their papers these rules choose
among the weights of convolutions; biases and normalisations are kept, and counted as part of the share.

Source: Lee et al., SNIP, ICLR 2019, equation 6; Wang et al., Picking Winning Tickets Before Training by Preserving
Gradient Flow, ICLR 2020, equation 8 (what is kept is what preserves the flow most).
"""

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.random import Noise, mix
from invdiff.solvers.generator import CHANNELS, hourglass, misfit, planted
from invdiff.solvers.iterative_magnitude import iterative_magnitude
from invdiff.solvers.mask import Mask, convolutions, largest
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.synflow import synflow
from invdiff.solvers.untrained import Problem

KINDS = ("random", "magnitude", "snip", "grasp", "synflow", "iterative-magnitude")


def prune(
    kind: str,
    y: Tensor,
    op: Operator,
    *,
    sparsity: float = 0.05,
    channels: int = CHANNELS,
    seed: int = 0,
    iterations: int = 1000,
    progress: bool = False,
) -> Mask:
    """The mask of one of `KINDS` for one measurement y (1, *op.shape_out).

    Args:
        sparsity: share of the parameters to keep. channels: of the network at full resolution.
        seed: of the network's parameters and input.
        iterations: Adam steps of each of the 14 rounds of "iterative-magnitude", the only one that trains.

    Raises:
        ValueError: an unknown kind; more than one measurement; an option outside its range; a share that biases and
            normalisations alone use up.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
    require("sparsity", sparsity, above=0, at_most=1)
    if len(y) != 1:
        raise ValueError(f"a mask is made from one measurement, y has {len(y)}. Pass y[i : i + 1].")
    problem = Problem(y, op)
    net = hourglass(problem.channels, op, channels)
    replicas, z = planted(net, seed, y, op)
    theta = {name: p.detach()[0].cpu() for name, p in replicas.parameters.items()}
    if kind == "synflow":
        return Mask(synflow(net, theta, sparsity, seed), net.config, seed)
    if kind == "iterative-magnitude":
        keep = iterative_magnitude(replicas, z, problem, sparsity, seed, iterations=iterations, progress=progress)
        return Mask(keep, net.config, seed)
    if kind == "random":
        draws = Noise([mix(seed, 2)])
        scores = {name: draws.like(p[None])[0] for name, p in theta.items()}
    elif kind == "magnitude":
        scores = {name: p.abs() for name, p in theta.items()}
    else:
        scores = {name: v[0].cpu() for name, v in sensitivity(kind, replicas, z, problem).items()}
    return Mask(largest(convolutions(scores, sparsity), sparsity, seed), net.config, seed)


def sensitivity(kind: str, replicas: Replicas, z: Tensor, problem: Problem) -> dict[str, Tensor]:
    """Scores of "snip" or "grasp" by name, (1, *shape)."""
    theta = replicas.parameters
    values = list(theta.values())
    with torch.enable_grad():
        gradient = torch.autograd.grad(misfit(replicas, z, problem), values, create_graph=kind == "grasp")
        if kind == "grasp":
            flow = torch.stack([(g * g.detach()).sum() for g in gradient]).sum()
            gradient = torch.autograd.grad(flow, values)
    scores = [p.detach() * g.detach() for p, g in zip(values, gradient, strict=True)]
    return dict(zip(theta, scores if kind == "grasp" else [v.abs() for v in scores], strict=True))
