"""Optimal Eye Surgeon: which few of a network's random parameters make, left as drawn, the image already.

    p <- Adam on |A g(theta_0 * m; z) - y|^2 / n + kappa sum_i KL(Ber(sigmoid(p_i)) | Ber(s)),
    m = sigmoid((p + l) / 0.2),   l logistic noise (binary Gumbel-softmax at temperature 0.2)

and the mask keeps the share s of all parameters with the largest p, over all layers together. What it keeps generates
images and has little room for noise. No clean image is used; masks can be taken to other images, sizes and operators.

Source: Ghosh et al., Optimal Eye Surgeon: Finding Image Priors through Sparse Generators at Initialization, ICML 2024,
section 3 (temperature, kappa, Adam at 0.01).
Differs: residuals are relative to the brightness of the image and to |A|, so that kappa transfers between scans.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor
from tqdm import tqdm

from invdiff.checks import require
from invdiff.networks.generator_blocks import scales
from invdiff.networks.hourglass import Hourglass
from invdiff.operators.base import Operator
from invdiff.random import Noise, mix
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.untrained import Problem, fixed_noise

TEMPERATURE, LATENT = 0.2, 32
CHANNELS = (16, 32, 64, 128, 128, 128)
TINY = 1e-6  # guards logarithms, as in the paper's code


@dataclass(frozen=True)
class Mask:
    """Parameters to keep of a network whose first ones are drawn from `seed`.

    keep: by name, bool. config: of the `Hourglass`. seed: of its parameters and its input.
    """

    keep: dict[str, Tensor]
    config: dict[str, Any]
    seed: int

    @property
    def share(self) -> float:
        """Kept share of all parameters."""
        return sum(int(k.sum()) for k in self.keep.values()) / sum(k.numel() for k in self.keep.values())

    def layers(self) -> dict[str, float]:
        """Kept share of every layer's parameters, by name, from input to output."""
        return {name: float(k.double().mean()) for name, k in self.keep.items()}

    def save(self, path: str | Path) -> Path:
        """Write to .safetensors, whole or not at all; returns the path."""
        path = Path(path)
        temporary = path.with_name(path.name + ".partial")
        record = {"kind": "mask", "config": json.dumps(self.config), "seed": str(self.seed)}
        try:
            save_file({name: k.contiguous() for name, k in self.keep.items()}, temporary, record)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Mask":
        """The inverse of `save`.

        Raises:
            ValueError: not a file of a mask, or one that does not fit the network it names.
        """
        try:
            with safe_open(str(path), "pt") as file:
                record, keep = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read as a mask: {error}. Give a file that Mask.save wrote.") from error
        if record.get("kind") != "mask":
            raise ValueError(f"{path} does not hold a mask. Give a file that Mask.save wrote.")
        mask = cls(keep, json.loads(record["config"]), int(record["seed"]))
        shapes = {name: p.shape for name, p in mask.network().named_parameters()}
        if {name: k.shape for name, k in keep.items()} != shapes or any(k.dtype != torch.bool for k in keep.values()):
            raise ValueError(f"{path} does not fit the network that it names: altered, or of another version.")
        return cls({name: keep[name] for name in shapes}, mask.config, mask.seed)

    def network(self) -> Hourglass:
        """The architecture."""
        return Hourglass(**self.config)


def learn_mask(
    y: Tensor,
    op: Operator,
    *,
    sparsity: float = 0.05,
    iterations: int = 2000,
    lr: float = 0.01,
    kappa: float = 1e-9,
    seed: int = 0,
    progress: bool = False,
) -> Mask:
    """The mask for one measurement y (1, *op.shape_out).

    Args:
        sparsity: share of the parameters to keep. iterations: of Adam; 60,000 in the paper. lr: its rate.
        kappa: weight of the divergence from keeping each with probability `sparsity`.
        seed: of the network's parameters and input, which the mask belongs to.

    Raises:
        ValueError: more than one measurement; an option outside its range.
    """
    require("sparsity", sparsity, above=0, at_most=1)
    require("iterations", iterations, at_least=1)
    if len(y) != 1:
        raise ValueError(f"a mask is learned from one measurement, y has {len(y)}. Pass y[i : i + 1].")
    problem = Problem(y, op)
    net = hourglass(problem.channels, op)
    replicas, z = planted(net, seed, y, op)
    gumbel = Noise([mix(seed, 1)], y.device)
    logits = {name: torch.zeros_like(p).requires_grad_() for name, p in replicas.parameters.items()}
    adam = torch.optim.Adam(list(logits.values()), lr=lr, foreach=True)
    with torch.enable_grad():
        for _ in tqdm(range(iterations), "mask", disable=not progress):
            soft = {name: torch.sigmoid((p + _logistic(p, gumbel)) / TEMPERATURE) for name, p in logits.items()}
            loss = _misfit(replicas.masked(soft), z, problem) + kappa * _divergence(logits, sparsity)
            adam.zero_grad()
            loss.backward()
            adam.step()
    scores = {name: p.detach()[0].cpu() for name, p in logits.items()}
    return Mask(largest(scores, sparsity, seed), net.config, seed)


def prune(kind: str, y: Tensor, op: Operator, *, sparsity: float = 0.05, seed: int = 0) -> Mask:
    """Masks of other rules at initialisation, for comparison, from y (1, *op.shape_out).

    kind: "random"; "magnitude", |theta|; "snip", |theta dL/dtheta|; "grasp", theta (H g), g = dL/dtheta and H the
    Hessian of L = |A g_theta(z) - y|^2 / n.

    Raises:
        ValueError: an unknown kind.

    Source: Lee et al., SNIP, ICLR 2019, equation 6; Wang et al., Picking Winning Tickets Before Training by Preserving
    Gradient Flow, ICLR 2020, equation 8 (what is kept is what preserves the flow most).
    """
    if kind not in ("random", "magnitude", "snip", "grasp"):
        raise ValueError(f"kind must be random, magnitude, snip or grasp, got {kind!r}.")
    require("sparsity", sparsity, above=0, at_most=1)
    problem = Problem(y, op)
    net = hourglass(problem.channels, op)
    replicas, z = planted(net, seed, y, op)
    theta = replicas.parameters
    if kind == "random":
        draws = Noise([mix(seed, 2)])
        scores = {name: draws.like(p.detach().cpu()) for name, p in theta.items()}
    elif kind == "magnitude":
        scores = {name: p.detach().abs() for name, p in theta.items()}
    else:
        scores = _sensitivity(kind, replicas, z, problem)
    return Mask(largest({name: v[0].cpu() for name, v in scores.items()}, sparsity, seed), net.config, seed)


def hourglass(channels: int, op: Operator) -> Hourglass:
    """The generator, as deep as the size of the image allows."""
    height, width = op.shape_in[1:]
    return Hourglass(LATENT, channels, CHANNELS[: scales(height, width, len(CHANNELS))])


def planted(net: Hourglass, seed: int, y: Tensor, op: Operator) -> tuple[Replicas, Tensor]:
    """The network and the input that a seed stands for, the same for every item of y."""
    replicas = Replicas(net, [Generator().manual_seed(mix(seed, 0)) for _ in y], y.device)
    height, width = op.shape_in[1:]
    return replicas, fixed_noise(y, Noise([mix(seed, 3) for _ in y], y.device), LATENT, (height, width))


def largest(scores: dict[str, Tensor], share: float, seed: int) -> dict[str, Tensor]:
    """The share of all entries with the largest scores, over all tensors together; ties are broken at random."""
    flat = torch.cat([v.flatten() for v in scores.values()])
    order = torch.randperm(len(flat), generator=Generator().manual_seed(mix(seed, 4)))
    best = order[flat[order].argsort(descending=True)[: max(round(share * len(flat)), 1)]]
    keep = torch.zeros(len(flat), dtype=torch.bool)
    keep[best] = True
    parts = keep.split([v.numel() for v in scores.values()])
    return {name: part.view(v.shape).clone() for part, (name, v) in zip(parts, scores.items(), strict=True)}


def _misfit(replicas: Replicas, z: Tensor, problem: Problem) -> Tensor:
    output = replicas(z[:, None])[:, 0]
    return problem.energy(problem.op(problem.image(output)) - problem.y) / output[0].numel()


def _logistic(p: Tensor, noise: Noise) -> Tensor:
    u = torch.special.ndtr(noise.like(p)).clamp(TINY, 1 - TINY)
    return torch.logit(u)


def _divergence(logits: dict[str, Tensor], s: float) -> Tensor:
    """sum KL(Ber(sigmoid(p)) | Ber(s))."""
    total = torch.zeros(())
    for p in logits.values():
        pi = torch.sigmoid(p)
        kept, dropped = torch.log((pi + TINY) / (s + TINY)), torch.log((1 - pi + TINY) / (1 - s + TINY))
        total = total.to(p) + (pi * kept + (1 - pi) * dropped).sum()
    return total


def _sensitivity(kind: str, replicas: Replicas, z: Tensor, problem: Problem) -> dict[str, Tensor]:
    theta = replicas.parameters
    values = list(theta.values())
    with torch.enable_grad():
        gradient = torch.autograd.grad(_misfit(replicas, z, problem), values, create_graph=kind == "grasp")
        if kind == "grasp":
            flow = torch.stack([(g * g.detach()).sum() for g in gradient]).sum()
            gradient = torch.autograd.grad(flow, values)
    scores = [p.detach() * g.detach() for p, g in zip(values, gradient, strict=True)]
    return dict(zip(theta, scores if kind == "grasp" else [v.abs() for v in scores], strict=True))
