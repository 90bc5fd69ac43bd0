"""Networks fitted to one noisy image, with a stop rule and without: what is lost once they fit the noise.

    python recipes/dip_denoise.py --out dip_denoise.png
    python recipes/dip_denoise.py --data Set12 --images 12 --out dip_denoise.png
    python recipes/dip_denoise.py --data Set12 --images 8 --size 64 --iterations 1500 --rules variance held-out never

y = x + n, x between 0 and 1, n of standard deviation 25/255; central crops of 128x128 of the images of a folder, or the
packaged slice. The table has each method as `solve` runs it, by its default stop rule, and without one (`never`) over
the same number of iterations at most. The best iterate is an oracle, found with the truth for the table alone; the
figure shows what the rule of `dip` goes by. PSNR with a peak of 1.

With --rules, stop rules of `dip` are compared instead, each against the best iterate of the whole path.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from dip_paths import Ended, verdict, watched
from dip_runs import Case, table
from torch import Tensor

from invdiff.data.images import open_images
from invdiff.data.samples import load_sample
from invdiff.metrics import psnr
from invdiff.operators import Identity
from invdiff.plotting import plot_stopping, save_figure
from invdiff.solvers.stopping import RULES

SIGMA = 25 / 255
METHODS: dict[str, dict[str, Any]] = {"tv": {}, "wavelet": {}, "deep-decoder": {}, "dip": {}}
METHODS |= {"dip, never": {"stop": "never"}, "aseq-dip": {}, "aseq-dip, never": {"stop": "never"}}


def crops(folder: Path | None, count: int, size: int) -> Tensor:
    """The middle of the first images, (N, 1, size, size) in 0..1."""
    images = [load_sample("brain").image] if folder is None else list(open_images(folder))[:count]
    found = []
    for number, image in enumerate(torch.as_tensor(image).float() for image in images):
        top, left = ((n - size) // 2 for n in image.shape)
        if min(top, left) < 0:
            raise SystemExit(f"image {number} is {tuple(image.shape)}, smaller than --size {size}.")
        found.append(image[top : top + size, left : left + size])
    return torch.stack(found)[:, None]


def cases(truths: Tensor) -> Iterator[Case]:
    op = Identity(tuple(truths.shape[1:]))
    for number, truth in enumerate(truths.split(1)):
        y = op.simulate(truth, SIGMA, seed=number)
        yield Case("denoising", y, op, SIGMA, truth, partial(quality, truth))


def quality(truth: Tensor, x: Tensor) -> float:
    return psnr(truth[0, 0], x[0, 0], 1.0)


def compare(images: Iterator[Case], rules: list[str], **options: Any) -> None:
    """What each rule makes of `dip`: a line for each image and rule, and what must hold of them."""
    ends: dict[str, list[Ended]] = {}
    for number, case in enumerate(images):
        for rule, end in watched(case, "dip", rules, **options).items():
            ends.setdefault(rule, []).append(end)
            print(f"image {number}, {rule}: {end}", flush=True)
    print("\n| rule | PSNR, dB | best (oracle), dB | last, dB | iterations | of the oracle's |\n|---|" + "---:|" * 5)
    for rule, found in ends.items():
        quality, best, last = (mean(getattr(end, name) for end in found) for name in ("quality", "best", "last"))
        ran, share = mean(end.ran for end in found), mean(end.share for end in found)
        print(f"| {rule} | {quality:.2f} | {best:.2f} | {last:.2f} | {ran:.0f} | {share:.2f} |")
    print("\n".join(["", *(verdict(rule, found) for rule, found in ends.items() if rule != "never")]))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of images")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--out", type=Path, default=Path("dip_denoise.png"))
    parser.add_argument("--rules", nargs="+", choices=RULES, help="compare these stop rules of dip instead")
    parser.add_argument("--iterations", type=int, default=3000, help="with --rules")
    parser.add_argument("--channels", type=int, default=16, help="with --rules")
    options = parser.parse_args(arguments)
    truths = crops(options.data, options.images, options.size)
    if options.rules:
        compare(cases(truths), options.rules, iterations=options.iterations, channels=options.channels)
        return
    runs = table(cases(truths), {name: METHODS[name] for name in options.methods}, prior=None)
    stopped = next((found[0].result for found in runs.values() if len(found[0].result.score)), None)
    if stopped is not None:
        save_figure(plot_stopping(stopped), options.out)
        print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
