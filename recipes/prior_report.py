"""What a packaged prior is worth: denoising against analytic priors, reconstruction against tuned TV, and its cost.

    python recipes/prior_report.py brain-mri --data slices.h5
    python recipes/prior_report.py ct --data ct.h5

Denoising: PSNR in dB (data range 2, per real component) on held-out images, with the images, the noise and the analytic
priors, fitted on training images, of `invdiff train` for the configuration recipes/train/NAME.toml.
Reconstruction (complex priors): single-coil Cartesian MRI at 4x and 8x of held-out slices, noise 0.01, methods as
`solve` sets them against total variation with the weight that is best on as many training slices. PSNR of magnitudes,
data range the maximum of the truth. Cost: medians, one image at a time.
"""

import argparse
import math
import platform
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from bench_operators import timed
from held_out import TRAININGS, part_of, training
from torch import Tensor

import invdiff
from invdiff.data.masks import cartesian_mask
from invdiff.metrics import psnr
from invdiff.operators import CartesianMRI
from invdiff.plotting import magnitude
from invdiff.priors import HybridPrior, Prior
from invdiff.priors.prior import denoise_vjp
from invdiff.result import Result
from invdiff.training.config import Config
from invdiff.training.slices import Slices
from invdiff.training.validate import Table, analytic_tables, held_images

RATES = {4: 10, 8: 5}  # acceleration: calibration lines, of 128
SIGMA = 0.01
WEIGHTS = (1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3)


def denoising(named: dict[str, Prior], train: Slices, val: Slices, config: Config) -> None:
    held = held_images(val, config)
    tables: dict[str, Table] = {name: held.psnr(prior, config.validation.sigmas) for name, prior in named.items()}
    tables |= analytic_tables(train, held, config)
    print(f"\nDenoising, {len(held.images)} held-out images {tuple(held.images.shape[1:])}, PSNR dB\n")
    print("| sigma | " + " | ".join(next(iter(tables.values()))) + " | mean |")
    print("|---|" + "---:|" * (len(config.validation.sigmas) + 1))
    for name, table in tables.items():
        cells = [*table.values(), statistics.mean(table.values())]
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


def reconstruction(prior: Prior, train: Slices, val: Slices, config: Config, n: int, methods: list[str]) -> None:
    few = replace(config, validation=replace(config.validation, images=n))
    tuning, truth = (held_images(part, few).images for part in (train, val))
    size = config.batch.size
    print(f"\nSingle-coil MRI, {n} held-out slices of {size}x{size}, noise {SIGMA}, PSNR dB; tv is tuned, see above\n")
    print("| | method | PSNR | mean of 4 | tv | zero-filled | gain over tv | least gain | evaluations |")
    print("|---|---|" + "---:|" * 7)
    for rate, lines in RATES.items():
        op = CartesianMRI(cartesian_mask(size, rate, lines, seed=0), shape=(1, size, size))
        weight = max(WEIGHTS, key=lambda w: float(total_variation(op, tuning, w).mean()))
        y = op.simulate(truth, SIGMA, seed=0)
        tv, zero = total_variation(op, truth, weight), scores(truth, op.adjoint(y))
        for method in methods:
            one, mean = (solved(op, y, prior, method, k) for k in (1, 4))
            gain = scores(truth, one.x) - tv
            error = float(gain.std()) / math.sqrt(n)
            cells = [scores(truth, one.x), scores(truth, mean.x), tv, zero]
            text = " | ".join(f"{float(cell.mean()):.2f}" for cell in cells)
            text += f" | {float(gain.mean()):+.2f} +- {error:.2f} | {float(gain.min()):+.2f} | {one.nfe}"
            print(f"| {rate}x | `{method}` | {text} |", flush=True)


def total_variation(op: CartesianMRI, truth: Tensor, weight: float) -> Tensor:
    y = op.simulate(truth, SIGMA, seed=0)
    x = invdiff.solve(y, op, method="tv", weight=weight, sigma_y=SIGMA, progress=False).x
    return scores(truth, x)


def solved(op: CartesianMRI, y: Tensor, prior: Prior, method: str, num_samples: int) -> Result:
    return invdiff.solve(y, op, prior, method, sigma_y=SIGMA, num_samples=num_samples, seed=0, progress=False)


def scores(truth: Tensor, x: Tensor) -> Tensor:
    return torch.tensor([psnr(magnitude(t), magnitude(e)) for t, e in zip(truth.split(1), x.split(1), strict=True)])


def cost(prior: Prior, sizes: tuple[int, ...], repeats: int) -> None:
    print(f"\nOne evaluation, median of {repeats}, ms\n")
    print("| size | forward | with input gradient | ratio |\n|---|---:|---:|---:|")
    for size in sizes:
        x = torch.randn(1, 1, size, size, dtype=torch.complex64 if prior.complex else torch.float32)
        v = torch.randn_like(x)

        def forward(x: Tensor = x) -> None:
            with torch.no_grad():
                prior(x, 0.3)

        def gradient(x: Tensor = x, v: Tensor = v) -> None:
            denoise_vjp(prior, x, 0.3)[1](v)

        a, b = median(forward, repeats), median(gradient, repeats)
        print(f"| {size}x{size} | {a:.1f} | {b:.1f} | {b / a:.2f} |", flush=True)


def median(run: Callable[[], None], repeats: int) -> float:
    times = [timed(run, torch.device("cpu")) for _ in range(repeats + 2)]
    return 1e3 * statistics.median(times[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", help="name of a packaged prior, or its file")
    parser.add_argument("--data", type=Path, required=True, help="the slices that it was trained on, and held-out ones")
    parser.add_argument("--config", type=Path, help="training configuration (default: recipes/train/NAME.toml)")
    parser.add_argument("--light", help="a second prior for the denoising table (default: NAME-light)")
    parser.add_argument("--slices", type=int, default=12, help="held-out slices to reconstruct")
    parser.add_argument("--methods", nargs="*", default=["dds", "dc-pnp"], help="to reconstruct with")
    parser.add_argument("--sections", nargs="*", default=["denoising", "reconstruction", "cost"])
    options = parser.parse_args()
    prior = invdiff.load_prior(options.prior)
    config = training(options.config or TRAININGS / f"{options.prior}.toml", options.data)
    print(f"{options.prior} on {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    train, val = (part_of(config, part) for part in ("train", "val"))
    if "denoising" in options.sections:
        parts = {"network alone": prior.net} if isinstance(prior, HybridPrior) else {}
        light = options.light or f"{options.prior}-light"
        parts |= {light: invdiff.load_prior(light)} if options.light or light in invdiff.priors.available() else {}
        denoising({options.prior: prior, **parts}, train, val, config)
    if "reconstruction" in options.sections and prior.complex:
        reconstruction(prior, train, val, config, options.slices, options.methods)
    if "cost" in options.sections:
        cost(prior, (128, 256), 20)


if __name__ == "__main__":
    main()
