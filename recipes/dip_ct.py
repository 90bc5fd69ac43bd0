"""Networks fitted to one CT scan of 30 views: DIP, aSeqDIP and uDiG-DIP beside their prior's `dds` and total variation.

    python recipes/dip_ct.py --out dip_ct.png
    python recipes/dip_ct.py --data ct_train.h5 --slices 4 --out dip_ct.png

128x128, 1e5 photons, every ray weighted by its noise, truth drawn on a grid twice as fine, whose error counts as noise:
the scan of `ct_sparse_view`, of its drawn body, or with --data of held-out slices. Every method ends by its default
stop rule; the best iterate is an oracle, found with the truth for the table alone. PSNR with a peak of 2000 HU, both
images clipped to -1000..1000 HU.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ct_sparse_view import Scan, drawn, measured, quality, slices
from dip_runs import Case, figure, table
from torch import Tensor
from torch.nn.functional import avg_pool2d

import invdiff
from invdiff.plotting import save_figure
from invdiff.units import mu_to_hu

METHODS: dict[str, dict[str, Any]] = {"fbp": {"window": "shepp-logan"}, "tv": {"iterations": 200}}
METHODS |= {"dds": {}, "dds, mean of 4": {"num_samples": 4}, "dip": {}, "aseq-dip": {}, "udig-dip": {}}


def cases(images: list[tuple[Tensor, float]], views: int) -> Iterator[Case]:
    """A scan of each image, attenuation (1, 1, 2 H, 2 W) in mm^-1 with its pixel size in mm."""
    for number, (fine, pixel) in enumerate(images):
        p, sigma, op = measured(fine, pixel, Scan(views), number, matched=False)
        truth = avg_pool2d(fine, 2)
        yield Case(f"{views} views", p, op, sigma, truth, partial(decibels, mu_to_hu(truth)))


def decibels(hu: Tensor, mu: Tensor) -> float:
    return quality(hu, mu_to_hu(mu))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="images in HU with a part `val` and pixel spacings")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--views", type=int, default=30)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--out", type=Path, default=Path("dip_ct.png"))
    options = parser.parse_args(arguments)
    images = slices(options.data, options.slices) if options.data else drawn()
    methods = {name: METHODS[name] for name in options.methods}
    runs = table(cases(images, options.views), methods, invdiff.load_prior("ct"))
    save_figure(figure(avg_pool2d(images[0][0], 2), runs), options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
