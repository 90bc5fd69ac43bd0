"""Limited-angle scans of the Helsinki Tomography Challenge 2022: 30 degrees of an acrylic disc with holes.

For each sample: the correlation of the measurement with the projection of the challenge's segmentation (above 0.99
where the geometry is right; beam hardening and noise take the rest), then images of the method asked for, and the
challenge's score of the best threshold (Matthews correlation with the segmentation, which the threshold thus knows).

    python recipes/ct_htc2022.py ct_sinogram_htc2022.h5 --samples ta tb --out ct_htc2022.png
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import avg_pool2d

import invdiff
from invdiff.data.projections import open_projections
from invdiff.operators.ct import Projector
from invdiff.plotting import Panel, gallery, save_figure
from invdiff.prepare_ct import scan_geometry

METHODS: dict[str, dict[str, Any]] = {
    "fbp": {"window": "hann"},
    "sirt": {"iterations": 60, "subsets": 6, "floor": 0.0},
    "tv": {"iterations": 150},
}
NOISE = 0.01  # of the line integrals: beam hardening more than photons


def main() -> None:
    args = _arguments()
    rows: dict[str, dict[str, Tensor]] = {}
    for sample in args.samples:
        file = open_projections(args.file, sample=sample)
        truth, (p, _) = file.reference(0), file.line_integrals(0)
        if truth is None:
            raise SystemExit(f"{args.file}: sample {sample} has no ground truth.")
        full, coarse = (Projector(scan_geometry(file.beam, (n, n))) for n in (truth.shape[0], args.size))
        y, x = p[None, None], truth[None, None]
        print(f"{sample}: correlation of measurement and projected segmentation {correlation(y, full(x)):.4f}")
        small = avg_pool2d(x, truth.shape[0] // args.size)
        rows[sample] = {"segmentation": small}
        for method in args.methods:
            result = invdiff.solve(y, coarse, method=method, sigma_y=NOISE, **METHODS[method])
            rows[sample][method] = result.x
            print(f"  {method:6} score {score(result.x, small > 0.5):.3f}, misfit "
                  f"{float((coarse(result.x) - y).square().mean().sqrt()):.4f}", flush=True)  # fmt: skip
    save_figure(figure(rows), args.out, dpi=230)
    print(f"wrote {args.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="HDF5 file of samples with sinogram, angles and ground truth")
    parser.add_argument("--samples", nargs="+", default=["ta", "tb"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--size", type=int, default=256, help="pixels on a side, a divisor of 512")
    parser.add_argument("--out", type=Path, default=Path("ct_htc2022.png"))
    return parser.parse_args()


def correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.norm() * b.norm()))


def score(image: Tensor, truth: Tensor) -> float:
    """The largest Matthews correlation of the image above a threshold with the truth."""
    levels = np.quantile(image.numpy(), np.linspace(0.02, 0.98, 97))
    return max(matthews(image > float(level), truth) for level in levels)


def matthews(found: Tensor, truth: Tensor) -> float:
    both = float((found & truth).sum())
    neither = float((~found & ~truth).sum())
    extra, lost = float((found & ~truth).sum()), float((~found & truth).sum())
    size = (both + extra) * (both + lost) * (neither + extra) * (neither + lost)
    return (both * neither - extra * lost) / size**0.5 if size else 0.0


def figure(rows: dict[str, dict[str, Tensor]]) -> Figure:
    """One row per sample; every image from 0 to its 99.5th percentile."""
    panels = [
        Panel(f"{sample}, {name}", image[0, 0].clamp(0, float(torch.quantile(image, 0.995))).numpy())
        for sample, images in rows.items()
        for name, image in images.items()
    ]
    return gallery(panels, len(panels) // len(rows))


if __name__ == "__main__":
    main()
