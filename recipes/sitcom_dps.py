"""SITCOM against DPS: PSNR at what cost, on undersampled MRI and five restoration tasks.

    python recipes/sitcom_dps.py --data slices.h5 --n 2

Slices of val/images of `slices.h5` with a smooth phase (without --data: the packaged brain slice), 128x128, noise 0.01.
SITCOM by its two inner solvers, Adam as published and half as long, and the tilt; DPS with 1000 steps and the better of
several guidance lengths *by the truth*, which favours DPS. Cost: evaluations of the network and input gradients, per
image; an evaluation and a gradient count as two.
"""

import argparse
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from compare_methods import OPERATORS, SIGMA, SIZE
from held_out import evenly, held_out
from torch import Tensor

import invdiff
from invdiff import demo
from invdiff.metrics import psnr
from invdiff.operators.base import LinearOperator
from invdiff.plotting import magnitude
from invdiff.priors import Prior

SITCOM: dict[str, dict[str, Any]] = {
    "sitcom, adam 20 x 20": {},
    "sitcom, adam 20 x 10": {"inner": 10},
    "sitcom, tilt": {"solver": "tilt"},
}
TASKS: dict[str, Callable[[], LinearOperator]] = {
    "MRI 4x": OPERATORS["MRI 4x, 1 coil"],
    "box 40x40": OPERATORS["box inpainting, 40x40"],
    "30 % of pixels": OPERATORS["random inpainting, 30 % kept"],
    "Gaussian blur": OPERATORS["Gaussian blur, std 2"],
    "motion blur": OPERATORS["motion blur, 25x25"],
    "super-resolution x4": OPERATORS["super-resolution x4"],
}


@dataclass(frozen=True)
class Row:
    """PSNR of every slice, cost per image and seconds of one method."""

    scores: list[float]
    cost: int
    seconds: float

    @property
    def mean(self) -> float:
        return statistics.mean(self.scores)


def truths(path: Path | None, n: int) -> Tensor:
    """n slices, maximum 1, with a smooth phase, (n, 1, SIZE, SIZE) complex."""
    return demo.simulate(0).truth if path is None else held_out(path, evenly(path, n), SIZE)


def measure(op: LinearOperator, truth: Tensor, prior: Prior, method: str, **options: Any) -> Row:
    y = op.simulate(truth, SIGMA, seed=0)
    result = invdiff.solve(y, op, prior, method, sigma_y=SIGMA, seed=0, progress=False, **options)
    scores = [psnr(magnitude(t), magnitude(x)) for t, x in zip(truth, result.x, strict=True)]
    return Row(scores, result.nfe + result.vjps, result.seconds / len(truth))


def compared(op: LinearOperator, truth: Tensor, prior: Prior, options: argparse.Namespace) -> dict[str, Row]:
    rows = {name: measure(op, truth, prior, "sitcom", **settings) for name, settings in SITCOM.items()}
    guided = {z: measure(op, truth, prior, "dps", steps=options.steps, zeta=z) for z in options.zeta}
    zeta = max(guided, key=lambda z: guided[z].mean)
    return rows | {f"dps, zeta {zeta:g}": guided[zeta]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="HDF5 file with val/images (n, h, w)")
    parser.add_argument("--n", type=int, default=2, help="slices of --data")
    parser.add_argument("--prior", default="brain-mri")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--steps", type=int, default=1000, help="of DPS")
    parser.add_argument("--zeta", type=float, nargs="+", default=[0.5, 1.0], help="guidance lengths of DPS")
    options = parser.parse_args(arguments)
    prior, truth = invdiff.load_prior(options.prior), truths(options.data, options.n)
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, {len(truth)} slices {SIZE}x{SIZE}, noise {SIGMA}\n"
    )
    print("| task | method | PSNR, dB | over DPS, dB | evaluations + gradients | of DPS's | seconds an image |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for task in options.tasks:
        rows = compared(TASKS[task](), truth, prior, options)
        base = list(rows.values())[-1]
        for name, row in rows.items():
            gain, share = row.mean - base.mean, row.cost / base.cost
            print(f"| {task} | {name} | {row.mean:.2f} | {gain:+.2f} | {row.cost} | {share:.0%} | {row.seconds:.0f} |")
        print(end="", flush=True)


if __name__ == "__main__":
    main()
