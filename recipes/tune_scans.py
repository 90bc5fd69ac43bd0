"""What recipes/tune.py measures: scans of the training slices of the packaged priors, and the options to try.

Slices of 128x128 in turn get the lesser and the greater noise of their scan. Times are processor times.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from held_out import own_images
from torch import Tensor

import invdiff
from invdiff import tuned
from invdiff.data.coils import simulate_maps
from invdiff.data.masks import cartesian_mask
from invdiff.metrics import psnr
from invdiff.operators import CartesianMRI, Downsampling, GaussianBlur, Inpainting, MotionBlur, ParallelBeamCT
from invdiff.operators.base import LinearOperator
from invdiff.plotting import magnitude
from invdiff.priors import Prior
from invdiff.units import by_window, identity

FILES = {"brain-mri": "mri_brain_train.h5", "ct": "ct_train.h5"}
N = 128
SHAPE, PIXEL = (1, N, N), 3.0  # mm, of a body that fills the image


class Scan(NamedTuple):
    """An operator, the packaged prior for its images, and the noise of even and of odd slices."""

    op: Callable[[], LinearOperator]
    prior: str = "brain-mri"
    noise: tuple[float, float] = (0.005, 0.05)


def views(count: int) -> LinearOperator:
    return ParallelBeamCT(torch.arange(count, dtype=torch.float64) * math.pi / count, (N, N), pixel=PIXEL)


PIXELS = torch.rand(N, N, generator=torch.Generator().manual_seed(0)) < 0.3
SCANS = {
    "MRI 4x, 1 coil": Scan(lambda: CartesianMRI(cartesian_mask(N, 4, 10), shape=(N, N))),
    "MRI 4x, 8 coils": Scan(lambda: CartesianMRI(cartesian_mask(N, 4, 12), simulate_maps(8, (N, N), seed=1)[None])),
    "CT, 20 views": Scan(lambda: views(20), "ct", (0.01, 0.08)),
    "CT, 60 views": Scan(lambda: views(60), "ct", (0.01, 0.08)),
    "30 % of the pixels": Scan(lambda: Inpainting(PIXELS, SHAPE)),
    "Gaussian blur, std 2": Scan(lambda: GaussianBlur(2.0, SHAPE, size=25)),
    "motion blur, 25x25": Scan(lambda: MotionBlur(SHAPE, size=25, seed=0)),
    "super-resolution x4": Scan(lambda: Downsampling(4, SHAPE)),
}

# Tried one option after the other from a method's own defaults on, each with the best of those before it. Methods that
# draw from a posterior are not here: what gains PSNR there costs spread.
GRIDS: dict[str, dict[str, list[Any]]] = {
    "dc-pnp": {"steps": [30], "w": [0.2], "sigma": [1.0], "turn": [True]},
    "dcdp": {"steps": [30], "lam": [0.03], "sigma": [1.0]},
    "diffpir": {"steps": [50], "lam": [0.3]},
    "dds": {"steps": [50], "inner": [10]},
}


class Problem(NamedTuple):
    """Slices behind a scan, in physical units, and the processor seconds of `tuned.work` and of one evaluation."""

    truth: Tensor
    y: Tensor
    sigma: Tensor
    op: LinearOperator
    prior: Prior
    evaluation: float
    work: float


class Score(NamedTuple):
    psnr: list[float]
    noise: tuple[float, float]
    nfe: int
    vjps: int
    seconds: float
    work: float


def problem(scan: str, part: str, data: Path, slices: int) -> Problem:
    """So many slices of a part of the data behind a scan."""
    make, name, levels = SCANS[scan]
    op, prior, x = make(), invdiff.load_prior(name), own_images(name, data / FILES[name], slices, part)
    units = identity(len(x)) if prior.window is None else by_window(len(x), prior.window, prior.range, "cpu")
    truth, sigma = units.to_physical(x), torch.tensor(levels * len(x))[: len(x)]
    y = torch.cat([op.simulate(truth[i : i + 1], float(s), seed=i) for i, s in enumerate(sigma)])
    op.norm()  # once, before anything is timed
    return Problem(truth, y, sigma, op, prior, seconds(lambda: prior(x, 0.3)), seconds(lambda: tuned.work(op, truth)))


@torch.no_grad()
def seconds(call: Callable[[], Any]) -> float:
    call()
    begin = time.process_time()
    for _ in range(3):
        call()
    return (time.process_time() - begin) / 3


def run(p: Problem, method: str, options: dict[str, Any]) -> Score:
    prior = p.prior if invdiff.METHODS[method].prior else None
    begin = time.process_time()
    result = invdiff.solve(p.y, p.op, prior, method, sigma_y=p.sigma, seed=0, progress=False, tuned=False, **options)
    used = time.process_time() - begin
    work = max(used - (result.nfe + 2 * result.vjps) * p.evaluation, 0) / p.work
    noise = tuned.seen_noise(p.op, p.sigma / result.units.scale)
    return Score(quality(p, result.x), noise, result.nfe, result.vjps, used, work)


def quality(p: Problem, x: Tensor) -> list[float]:
    """PSNR of each slice: of magnitudes, peak the largest; or of the prior's window, both images clipped to it."""
    pairs = zip(p.truth.split(1), x.split(1), strict=True)
    if p.prior.window is None:
        return [psnr(magnitude(t), magnitude(e)) for t, e in pairs]
    low, high = p.prior.window
    return [psnr(t[0].clamp(low, high), e[0].clamp(low, high), high - low) for t, e in pairs]
