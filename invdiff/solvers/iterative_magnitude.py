"""Iterative magnitude pruning: train, drop the smallest, go back to the first parameters, again.

    theta <- fit from theta_0 * m,   m <- the largest |theta| of those kept, s^(k / rounds) of all,   k = 1..rounds

Biases and normalisations are kept.

Source: Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019 (iterative, with rewinding; one threshold for all
layers); 14 rounds of 20 % each are those that Ghosh et al., Optimal Eye Surgeon, ICML 2024, compare with.
"""

from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from invdiff.random import Noise
from invdiff.solvers.mask import convolutions, largest
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Never
from invdiff.solvers.untrained import Fit, Problem, fit

ROUNDS = 14


def iterative_magnitude(
    replicas: Replicas,
    z: Tensor,
    problem: Problem,
    share: float,
    seed: int,
    *,
    rounds: int = ROUNDS,
    iterations: int = 1000,
    lr: float = 0.01,
    progress: bool = False,
) -> dict[str, Tensor]:
    """What to keep of the parameters of one network, by name, bool; replicas keeps its first ones.

    iterations: Adam steps of each round, the noise being fitted too. lr: their rate.
    """
    keep = {name: torch.ones_like(p[0], dtype=torch.bool, device="cpu") for name, p in replicas.parameters.items()}
    for k in tqdm(range(1, rounds + 1), "pruning", disable=not progress):
        trained = Replicas.joined([replicas])
        mask = {name: mine.to(z.device) for name, mine in keep.items()}
        fit(problem, trained, z, Fit(iterations, lr), Never(), noise=Noise(()), callback=_silent, mask=mask)
        sizes = {name: p.detach()[0].cpu().abs() for name, p in trained.parameters.items()}
        scores = {name: size.masked_fill(~keep[name], -torch.inf) for name, size in sizes.items()}
        keep = largest(convolutions(scores, share), share ** (k / rounds), seed)
    return keep


def _silent(*args: Any, **kwargs: Any) -> None: ...
