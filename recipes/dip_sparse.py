"""Sparse-DIP against dense DIP, and the masks of Optimal Eye Surgeon against pruning at the same share: denoising.

    python recipes/dip_sparse.py --out masks
    python recipes/dip_sparse.py --data Set12 --images 4 --size 128 --out masks

Without a folder of images the packaged MR slice is denoised. y = x + n, peak of x 1, n of standard deviation 25/255.
All methods run to the end: `final` is the last image, `stopped` the one that the default stop rule (moving variance)
takes from the same path without the truth, `best (oracle)` the one of highest PSNR, which only the truth finds. Every
mask is of the same network, seed and share of parameters; `whole channels` is the learned one made structured, run as a
smaller dense network. Rows are printed as they come, means at the end; --out takes figures of what every layer keeps.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from torch import Tensor

import invdiff
from invdiff.data.images import open_images
from invdiff.data.samples import load_sample
from invdiff.metrics import psnr
from invdiff.operators import Identity
from invdiff.plotting import plot_mask_layers, save_figure
from invdiff.random import mix
from invdiff.solvers.compact import compact
from invdiff.solvers.generator import misfit, planted
from invdiff.solvers.mask import Mask
from invdiff.solvers.oes import learn_mask
from invdiff.solvers.pruning import KINDS, prune
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import MovingVariance
from invdiff.solvers.untrained import Problem
from invdiff.solvers.whole_channels import whole_channels

SIGMA, STRUCTURED = 25 / 255, "OES, whole channels"
COLUMNS = ("final", "stopped", "best (oracle)", "stopped at", "best at (oracle)")


class Scan(NamedTuple):
    """A noisy image: truth and y (1, 1, N, N), the operator, and the seed of everything random."""

    truth: Tensor
    y: Tensor
    op: Identity
    seed: int


def scans(folder: Path | None, count: int, size: int, seed: int) -> list[Scan]:
    """Central crops of the first images, peak 1, with noise; the packaged slice without a folder."""
    images = [load_sample().image] if folder is None else [torch.as_tensor(image) for image in open_images(folder)]
    found = []
    for number, image in enumerate(images[:count]):
        top, left = ((n - size) // 2 for n in image.shape)
        if min(top, left) < 0:
            raise SystemExit(f"image {number} is {tuple(image.shape)}, smaller than --size {size}.")
        truth = image[top : top + size, left : left + size][None, None].float()
        op, own = Identity((1, size, size)), mix(seed, number)
        found.append(Scan(truth, op.simulate(truth, SIGMA, seed=own), op, own))
    return found


def follow(scan: Scan, method: str, iterations: int, **options: Any) -> dict[str, float]:
    """One fit to its end: what of it is in the columns."""
    path: list[float] = []
    rule = MovingVariance()

    def look(record: dict[str, Any]) -> None:
        path.append(psnr(scan.truth[0], record["x"][0], 1.0))
        if record["step"] == 0 or not bool(rule.done.all()):
            rule.look(record["step"], record["x"], scan.y)

    settings = options | {"iterations": iterations, "stop": "never", "seed": scan.seed, "progress": False}
    invdiff.solve(scan.y, scan.op, None, method, sigma_y=SIGMA, callback=look, **settings)
    values = (path[-1], path[int(rule.at)], max(path), float(rule.at), float(path.index(max(path))))
    return dict(zip(COLUMNS, values, strict=True))


def masks(scan: Scan, options: argparse.Namespace) -> Iterator[tuple[str, Mask]]:
    """The learned mask, its structured form, and those of the pruning rules, all of the same share."""
    common = {"sparsity": options.sparsity, "seed": scan.seed}
    learned = learn_mask(scan.y, scan.op, iterations=options.mask_iterations, **common)
    yield "OES", learned
    yield STRUCTURED, whole_channels(learned)
    for kind in options.kinds:
        yield kind, prune(kind, scan.y, scan.op, iterations=options.pruning_iterations, **common)


def seconds(replicas: Replicas, z: Tensor, problem: Problem, repeats: int = 5) -> float:
    """The least time of one gradient."""
    times = [time.perf_counter()]
    for _ in range(repeats):
        misfit(replicas, z, problem).backward()
        times.append(time.perf_counter())
    return min(b - a for a, b in pairwise(times))


def speed(scan: Scan, mask: Mask) -> str:
    """What dropping the channels that a mask leaves dead saves."""
    full, z = planted(mask.network(), mask.seed, scan.y, scan.op)
    small, _ = compact(full, mask.keep)
    before, after = (sum(p.numel() for p in r.parameters.values()) for r in (full, small))
    problem = Problem(scan.y, scan.op)
    gain = seconds(full, z, problem) / seconds(small, z, problem)
    return f"whole channels: {after} of {before} parameters, one iteration {gain:.1f} times as fast"


def row(name: str, values: dict[str, float]) -> str:
    return f"| {name} | " + " | ".join(f"{values[c]:.0f}" if " at" in c else f"{values[c]:.2f}" for c in COLUMNS) + " |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of grey images")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--size", type=int, default=128, help="side of the crops, pixels")
    parser.add_argument("--sparsity", type=float, default=0.05)
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--mask-iterations", type=int, default=2000)
    parser.add_argument("--pruning-iterations", type=int, default=1000, help="of each of the 14 rounds")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the figures")
    options = parser.parse_args(arguments)
    rows: dict[str, list[dict[str, float]]] = {}
    for number, scan in enumerate(scans(options.data, options.images, options.size, options.seed)):
        rows.setdefault("dense DIP", []).append(follow(scan, "dip", options.iterations))
        print(f"image {number}: {row('dense DIP', rows['dense DIP'][-1])}", flush=True)
        for name, mask in masks(scan, options):
            settings = {"mask": mask, "compact": name == STRUCTURED}
            rows.setdefault(name, []).append(follow(scan, "sparse-dip", options.iterations, **settings))
            print(f"image {number}: {row(name, rows[name][-1])}", flush=True)
            if options.out and number == 0:
                options.out.mkdir(exist_ok=True)
                save_figure(plot_mask_layers(mask), options.out / f"{name.replace(',', '').replace(' ', '_')}.png")
            if name == STRUCTURED:
                print(f"image {number}: {speed(scan, mask)}", flush=True)
    print(f"\nPSNR / dB (peak 1), {options.size}x{options.size}, {options.sparsity:.1%} of the parameters")
    print("\n| method | " + " | ".join(COLUMNS) + " |\n|---|" + "---:|" * len(COLUMNS))
    for name, values in rows.items():
        print(row(name, {column: mean(v[column] for v in values) for column in COLUMNS}))


if __name__ == "__main__":
    main()
