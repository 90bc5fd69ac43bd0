"""Sparse-DIP against dense DIP, and the masks of Optimal Eye Surgeon against pruning at the same share: denoising.

    python recipes/dip_sparse.py --out masks
    python recipes/dip_sparse.py --data Set12 --images 3 --size 64 --channels 4 --iterations 1000 --out masks

Without a folder of images the packaged MR slice is denoised. y = x + n, peak of x 1, n of standard deviation 25/255.
Every fit runs to its end: `last` is its last image, `best (oracle)` that of the highest PSNR, which only truth finds.
`dip` is the method of that name, `dense` the hour-glass of the masks with nothing masked; every mask is of the same
network, seed and share of parameters; `OES, whole channels` is the learned one made structured, run as a smaller dense
network. What stop rules make of them is a table of its own. The published share of 5 % goes with
3 million parameters and images of 512x512: --channels (16 there) in proportion to the size of the image keeps as many
parameters for each pixel. Lines are printed as they come; --out takes figures of what every layer keeps.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from dip_denoise import cases, crops
from dip_paths import Ended, verdict, watched
from dip_runs import Case
from torch import Tensor

from invdiff.plotting import plot_mask_layers, save_figure
from invdiff.random import mix
from invdiff.solvers.compact import compact
from invdiff.solvers.generator import misfit, planted
from invdiff.solvers.mask import Mask
from invdiff.solvers.oes import learn_mask
from invdiff.solvers.pruning import KINDS, prune
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import RULES
from invdiff.solvers.untrained import Problem
from invdiff.solvers.whole_channels import whole_channels

STRUCTURED = "OES, whole channels"
DENSE = ("dip", "dense")
ROWS = (*DENSE, "OES", STRUCTURED, *KINDS)
Ends = dict[str, dict[str, list[Ended]]]  # by row and rule


def masks(case: Case, seed: int, options: argparse.Namespace) -> Iterator[tuple[str, Mask | None]]:
    """What is fitted, by its row: None is `dip`, which has no mask."""
    common = {"seed": seed, "channels": options.channels}
    share, rows = {"sparsity": options.sparsity} | common, options.rows
    if "dip" in rows:
        yield "dip", None
    if "dense" in rows:
        yield "dense", prune("random", case.y, case.op, sparsity=1.0, **common)
    if "OES" in rows or STRUCTURED in rows:
        learned = learn_mask(case.y, case.op, iterations=options.mask_iterations, **share)
        yield from ((n, m) for n, m in (("OES", learned), (STRUCTURED, whole_channels(learned))) if n in rows)
    for kind in (kind for kind in KINDS if kind in rows):
        yield kind, prune(kind, case.y, case.op, iterations=options.pruning_iterations, **share)


def ends(case: Case, name: str, mask: Mask | None, options: argparse.Namespace) -> dict[str, Ended]:
    """One row's fit to its end, and where the rules that are compared would have ended it."""
    rules = ["never", *(rule for rule in options.rules if rule != "never")]
    settings: dict[str, Any] = {"iterations": options.iterations}
    if mask is None:
        return watched(case, "dip", rules, **settings)
    return watched(case, "sparse-dip", rules, mask=mask, compact=name == STRUCTURED, **settings)


def seconds(replicas: Replicas, z: Tensor, problem: Problem, repeats: int = 5) -> float:
    """The least time of one gradient."""
    times = [time.perf_counter()]
    for _ in range(repeats):
        misfit(replicas, z, problem).backward()
        times.append(time.perf_counter())
    return min(b - a for a, b in pairwise(times))


def speed(case: Case, mask: Mask) -> str:
    """What dropping the channels that a mask leaves dead saves."""
    full, z = planted(mask.network(), mask.seed, case.y, case.op)
    small, _ = compact(full, mask.keep)
    before, after = (sum(p.numel() for p in r.parameters.values()) for r in (full, small))
    problem = Problem(case.y, case.op)
    gain = seconds(full, z, problem) / seconds(small, z, problem)
    return f"whole channels: {after} of {before} parameters, one iteration {gain:.1f} times as fast"


def table(found: Ends) -> str:
    """Means over images: the fits, then the stop rules."""
    lines = ["| network | last | best (oracle) | best at (oracle) |", "|---|---:|---:|---:|"]
    for name, rules in found.items():
        last, best, at = (mean(getattr(e, what) for e in rules["never"]) for what in ("last", "best", "best_at"))
        lines.append(f"| {name} | {last:.2f} | {best:.2f} | {at:.0f} |")
    lines += ["", "| network | stop rule | PSNR | below the best (oracle) | at most | iterations |"]
    lines.append("|---|---|" + "---:|" * 4)
    for name, rules in found.items():
        for rule, each in rules.items():
            quality, ran = mean(e.quality for e in each), mean(e.ran for e in each)
            lost = [e.best - e.quality for e in each]
            lines.append(f"| {name} | {rule} | {quality:.2f} | {mean(lost):.2f} | {max(lost):.2f} | {ran:.0f} |")
    return "\n".join(lines)


def verdicts(found: Ends) -> Iterator[str]:
    """What must hold, with what was wanted of it."""
    learned = found.get("OES", {})
    for rule, each in learned.items():
        lost, wanted = mean(e.best - e.quality for e in each), 1.0 if rule == "never" else 0.3
        yield f"OES, {rule}: its image is {lost:.2f} dB below the best of its path (wanted at most {wanted})"
        if rule != "never":
            yield verdict(f"OES, {rule}", each)
    for name in (name for name in found if name in DENSE):
        lost = mean(e.best - e.last for e in found[name]["never"])
        yield f"{name} loses {lost:.2f} dB from its best to its last image (wanted at least 3)"
    for name in (name for name in found if learned and name not in ("OES", STRUCTURED)):
        for rule, each in ((rule, each) for rule, each in learned.items() if rule in found[name]):
            yield f"OES above {name}, both with {rule}: {above(each, found[name][rule]):+.2f} dB (wanted 0)"


def above(these: list[Ended], those: list[Ended]) -> float:
    return mean(a.quality - b.quality for a, b in zip(these, those, strict=True))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of grey images")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--size", type=int, default=128, help="side of the crops, pixels")
    parser.add_argument("--channels", type=int, default=16, help="of the masked network at full resolution")
    parser.add_argument("--sparsity", type=float, default=0.05)
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--mask-iterations", type=int, default=2000)
    parser.add_argument("--pruning-iterations", type=int, default=1000, help="of each of the 14 rounds")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rules", nargs="*", choices=RULES, default=["held-out", "variance"], help="beside never")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the figures")
    options = parser.parse_args(arguments)
    found: Ends = {}
    for number, case in enumerate(cases(crops(options.data, options.images, options.size))):
        for name, mask in masks(case, mix(options.seed, number), options):
            for rule, end in ends(case, name, mask, options).items():
                found.setdefault(name, {}).setdefault(rule, []).append(end)
                print(f"image {number}, {name}, {rule}: {end}", flush=True)
            if options.out and mask and number == 0:
                options.out.mkdir(exist_ok=True)
                save_figure(plot_mask_layers(mask), options.out / f"{name.replace(',', '').replace(' ', '_')}.png")
            if mask and name == STRUCTURED:
                print(f"image {number}: {speed(case, mask)}", flush=True)
    print(f"\nPSNR / dB (peak 1), {options.size}x{options.size}, {options.sparsity:.1%} of the parameters\n")
    print("\n".join([table(found), "", *verdicts(found)]))


if __name__ == "__main__":
    main()
