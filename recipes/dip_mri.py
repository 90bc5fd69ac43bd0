"""Networks fitted to one MR scan, 4x undersampled: DIP, aSeqDIP and uDiG-DIP beside their prior's `dds` and wavelets.

    python recipes/dip_mri.py --out dip_mri.png
    python recipes/dip_mri.py --data mri_brain_train.h5 --slices 4 --out dip_mri.png
    python recipes/dip_mri.py --bodies ct_train.h5 --slices 4 --out dip_mri_mismatched.png

128x128, one coil or eight simulated ones, noise 0.01 of the brightness, complex images with a smooth phase: the
packaged slice, or with --data held-out ones. --bodies are CT slices in their place, which the brain prior has never
seen. Then each method with a prior runs again, on the same data, with the prior that has, and what it loses by the
wrong one is printed. Every method ends by its default stop rule; the best iterate is an oracle, found with the truth
for the table alone. PSNR of magnitudes, peak the maximum of the truth.
"""

import argparse
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from dip_runs import Case, Runs, figure, table
from held_out import own_images
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

import invdiff
from invdiff.data.coils import simulate_maps
from invdiff.data.images import open_images
from invdiff.data.masks import cartesian_mask
from invdiff.demo import simulate
from invdiff.metrics import psnr
from invdiff.operators import CartesianMRI, RealToComplex
from invdiff.plotting import magnitude, save_figure
from invdiff.units import hu_to_mu

SIGMA, SIZE = 0.01, 128
METHODS: dict[str, dict[str, Any]] = {"tv": {}, "wavelet": {}, "dds": {}, "dds, mean of 4": {"num_samples": 4}}
METHODS |= {name: {} for name in ("dip", "aseq-dip", "udig-dip")}


def brains(path: Path | None, count: int) -> Tensor:
    """Complex images, (N, 1, H, W), of about 1: the packaged slice, or held-out ones."""
    return simulate().truth if path is None else own_images("brain-mri", path, count)


def bodies(path: Path, count: int) -> Tensor:
    """Attenuation of held-out slices, mm^-1, (N, 1, H, W), complex with phase 0."""
    found = torch.stack([torch.from_numpy(hu) for hu in open_images(path, part="val")])
    chosen = torch.linspace(0, len(found) - 1, min(count, len(found))).round().long()
    mu = adaptive_avg_pool2d(hu_to_mu(found[chosen].clamp(min=-1000.0)), SIZE)
    return mu[:, None].to(torch.complex64)


def scanners() -> dict[str, CartesianMRI]:
    one = CartesianMRI(cartesian_mask(SIZE, 4, 10, seed=0), shape=(1, SIZE, SIZE))
    maps = simulate_maps(8, (SIZE, SIZE), seed=1)[None]
    return {"1 coil": one, "8 coils": CartesianMRI(cartesian_mask(SIZE, 4, 12, seed=0), maps)}


def cases(truths: Tensor, scans: list[str], real: bool = False) -> Iterator[Case]:
    """Every image in every scanner; real: by the operator that takes real images, from the same data."""
    for scan in scans:
        scanner = scanners()[scan]
        for number, truth in enumerate(truths.split(1)):
            sigma = SIGMA * float(torch.quantile(truth.abs().flatten(), 0.995))
            y = scanner.simulate(truth, sigma, seed=number)
            op = scanner @ RealToComplex((1, SIZE, SIZE)) if real else scanner
            yield Case(scan, y, op, sigma, truth, partial(quality, truth))


def quality(truth: Tensor, x: Tensor) -> float:
    return psnr(magnitude(truth), magnitude(x))


def losses(wrong: Runs, right: Runs) -> str:
    """By how much the wrong prior is worse than the right one, for each method that has one."""
    lines = ["", "| scan | method | right prior, dB | wrong prior, dB | loss, dB |", "|---|---|---:|---:|---:|"]
    for (scan, method), runs in right.items():
        a, b = (statistics.mean(run.quality for run in each) for each in (runs, wrong[scan, method]))
        lines.append(f"| {scan} | {method} | {a:.2f} | {b:.2f} | {a - b:.2f} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="slices of the brain prior's training set, with its held-out part")
    parser.add_argument("--bodies", type=Path, help="CT slices with a part `val`, in place of brains")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--scans", nargs="+", default=list(scanners()), choices=scanners())
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--out", type=Path, default=Path("dip_mri.png"))
    options = parser.parse_args(arguments)
    methods = {name: METHODS[name] for name in options.methods}
    truths = bodies(options.bodies, options.slices) if options.bodies else brains(options.data, options.slices)
    runs = table(cases(truths, options.scans), methods, invdiff.load_prior("brain-mri"))
    if options.bodies:
        guided = {name: settings for name, settings in methods.items() if invdiff.METHODS[name].prior}
        print(losses(runs, table(cases(truths, options.scans, real=True), guided, invdiff.load_prior("ct"))))
    save_figure(figure(truths[:1], runs), options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
