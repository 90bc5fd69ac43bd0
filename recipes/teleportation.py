"""What skipping noise levels in closed form costs and saves: reconstructions with a hybrid prior and its network.

    python recipes/teleportation.py brain-mri-hybrid.safetensors --data slices.h5 --n 8

Single-coil MRI of held-out slices (val/images of `slices.h5`) with a smooth phase, 4x, noise 0.01. The same data and
seeds for all rows: the network alone on its own noise levels, the hybrid prior on all levels, the hybrid prior starting
below those it knows in closed form, and the network alone with no more evaluations than that.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from held_out import evenly, held_out
from torch import Tensor

import invdiff
from invdiff.data.masks import cartesian_mask
from invdiff.demo import PHASE
from invdiff.metrics import psnr
from invdiff.operators import CartesianMRI
from invdiff.plotting import magnitude
from invdiff.priors import HybridPrior, Prior
from invdiff.result import Result

SIZE, SIGMA, ACCELERATION, LINES = 128, 0.01, 4, 10


def reconstruct(y: Tensor, op: CartesianMRI, prior: Prior, options: argparse.Namespace, **more: Any) -> list[Result]:
    """One run for each measurement, with its number as the seed."""
    return [
        invdiff.solve(y[i : i + 1], op, prior, options.method, sigma_y=SIGMA, seed=i, progress=False, **more)
        for i in range(len(y))
    ]


def row(name: str, results: list[Result], truth: Tensor, base: Tensor | None) -> Tensor:
    """Print a line and return the PSNR of each slice."""
    scores = torch.tensor([psnr(magnitude(t), magnitude(r.x)) for t, r in zip(truth, results, strict=True)])
    text = f"{name:34}{float(scores.mean()):9.2f}{results[0].nfe:8d}{results[0].skipped:9d}"
    if base is not None:
        error = float((scores - base).std() / math.sqrt(len(scores)))
        text += f"{float((scores - base).mean()):+10.2f} +- {error:.2f}"
    print(text, flush=True)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", help="file or name of a hybrid prior of complex images")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=8, help="slices")
    parser.add_argument("--method", default="dds")
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    prior = invdiff.load_prior(options.prior)
    if not isinstance(prior, HybridPrior):
        parser.error(f"{options.prior} is no hybrid prior; recipes/fit_hybrid.py makes one")
    truth = held_out(options.data, evenly(options.data, options.n, ends=True), SIZE, PHASE)
    op = CartesianMRI(cartesian_mask(SIZE, ACCELERATION, LINES, seed=0), shape=(1, SIZE, SIZE))
    y = op.simulate(truth, SIGMA, seed=0)
    to = prior.fade(op.shape_in)[1] if prior.sigma_teleport is None else prior.sigma_teleport
    print(f"{options.method}, {options.steps} levels, {options.n} slices, teleportation to {to:.2f}")
    print(f"{'':34}{'PSNR dB':>9}{'evals':>8}{'skipped':>9}{'difference':>18}")
    steps = options.steps
    base = row("network", reconstruct(y, op, prior.net, options, steps=steps), truth, None)
    row("hybrid, all levels", reconstruct(y, op, prior, options, steps=steps, teleport=False), truth, base)
    short = reconstruct(y, op, prior, options, steps=steps, teleport=True)
    row("hybrid, teleported", short, truth, base)
    fewer = steps - short[0].skipped
    row(f"network, {fewer} levels", reconstruct(y, op, prior.net, options, steps=fewer), truth, base)
    print(f"evaluations saved: {1 - short[0].nfe / max(short[0].nfe + short[0].skipped, 1):.0%}")


if __name__ == "__main__":
    main()
