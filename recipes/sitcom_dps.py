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

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import invdiff
from invdiff import demo
from invdiff.data.masks import cartesian_mask
from invdiff.metrics import psnr
from invdiff.operators import CartesianMRI, Downsampling, GaussianBlur, Inpainting, MotionBlur
from invdiff.operators.base import LinearOperator
from invdiff.plotting import magnitude
from invdiff.priors import Prior

SIZE, SIGMA = 128, 0.01
SHAPE = (1, SIZE, SIZE)
SITCOM: dict[str, dict[str, Any]] = {
    "sitcom, adam 20 x 20": {},
    "sitcom, adam 20 x 10": {"inner": 10},
    "sitcom, tilt": {"solver": "tilt"},
}


def kept(box: bool) -> Tensor:
    """30 % of the pixels, or all but a box of 40x40."""
    if not box:
        return torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.3
    mask = torch.ones(SIZE, SIZE, dtype=torch.bool)
    mask[44:84, 44:84] = False
    return mask


TASKS: dict[str, Callable[[], LinearOperator]] = {
    "MRI 4x": lambda: CartesianMRI(cartesian_mask(SIZE, 4, SIZE // 12, seed=0), shape=SHAPE),
    "box 40x40": lambda: Inpainting(kept(box=True), SHAPE),
    "30 % of pixels": lambda: Inpainting(kept(box=False), SHAPE),
    "Gaussian blur": lambda: GaussianBlur(2.0, SHAPE, size=25),
    "motion blur": lambda: MotionBlur(SHAPE, size=25, seed=0),
    "super-resolution x4": lambda: Downsampling(4, SHAPE),
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
    if path is None:
        return demo.simulate(0).truth
    with h5py.File(path) as file:
        stored = file["val/images"]
        index = np.linspace(0, len(stored) - 1, n + 2).round().astype(int)[1:-1]
        images = torch.from_numpy(np.stack([stored[i] for i in index])).float()[:, None]
    images = F.interpolate(images, size=(SIZE, SIZE), mode="area")
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    phase = 2 * (0.5 * x - 0.3 * y + 0.6 * x * y)
    return torch.polar(images / images.amax((1, 2, 3), keepdim=True), phase.expand_as(images))


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
