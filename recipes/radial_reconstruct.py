"""A measured radial scan, from raw samples to images: y_s = a_s A_s x + n with everything estimated from the data.

Steps: read-out oversampling removed; coils whitened by the noise at the edge of k-space; gains a_s of the spokes from
their overlap; coil maps (ESPIRiT) from the gridded centre; then several methods, with all spokes and with every third.

Printed for each: chi2 = |A x - y|^2 / (m sigma^2), overall and by distance from the centre of k-space. It is about 1
where the image explains the samples to the noise. Near the centre the signal is many times the noise, so that errors of
one per cent in maps, trajectory or gains show there; the outer rings hold most samples.

    python recipes/radial_reconstruct.py phantom_radial_16ch.h5 --size 192 --out radial.png
"""

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import invdiff
from invdiff.data.readouts import open_readouts
from invdiff.operators import NonCartesianMRI
from invdiff.plotting import Panel, gallery, magnitude, save_figure
from invdiff.prepare_coils import Coils
from invdiff.prepare_noncartesian import NonCartesianScan
from invdiff.shapes import norm

RINGS = (0, 3, 12, 24, 48, 1000)  # cycles per field of view


def main() -> None:
    args = _arguments()
    file, rows = open_readouts(args.file), {}
    for step in args.every:
        spokes, size = -(-file.shape[2] // step), (args.size, args.size)
        item = NonCartesianScan(file, Coils(whiten=True), size, spokes, args.oversampling, args.gains).slice(0)
        assert item is not None
        y, op = item.y, item.op
        assert isinstance(op, NonCartesianMRI)
        print(f"{spokes} spokes: noise level {float(op.estimate_sigma(y)):.3g}")
        images = {"gridding": op.gridding(y)}
        for method in args.methods:
            result = invdiff.solve(y, op, method=method)
            images[method] = result.x
            report(result, y, op)
        rows[f"{spokes} spokes"] = images
    save_figure(figure(rows), args.out, dpi=230)
    print(f"wrote {args.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="HDF5 with kspace (coil, spoke, n) and trajectory (spoke, n, 2)")
    parser.add_argument("--size", type=int, default=192, help="pixels on a side of the image")
    parser.add_argument("--oversampling", type=int, help="of the read-out, removed (default: as the trajectory tells)")
    parser.add_argument("--every", type=int, nargs="+", default=[1, 3], help="keep one of so many spokes")
    parser.add_argument("--methods", nargs="+", default=["cg", "tv", "wavelet"])
    parser.add_argument("--no-gains", dest="gains", action="store_false", help="take all spokes as equal")
    parser.add_argument("--out", type=Path, default=Path("radial.png"))
    return parser.parse_args()


def report(result: invdiff.Result, y: Tensor, op: NonCartesianMRI) -> None:
    """chi2 overall and in rings of k-space."""
    assert result.chi2 is not None
    assert result.sigma_y is not None
    residual, distance = op(result.x) - y, op.trajectory[0].norm(dim=-1)
    parts = []
    for inner, outer in pairwise(RINGS):
        ring = residual[..., (distance >= inner) & (distance < outer)]
        if ring.numel():
            parts.append(f"{inner}+: {float(norm(ring) ** 2 / (2 * ring[0].numel() * result.sigma_y**2)):.2f}")
    print(f"  {result.method:8} chi2 {float(result.chi2):5.2f}   from {', '.join(parts)} cycles", flush=True)


def figure(rows: dict[str, dict[str, Tensor]]) -> Figure:
    """One row per number of spokes, one column per method, magnitudes on one scale."""
    top = max(float(torch.quantile(x.abs(), 0.995)) for images in rows.values() for x in images.values())
    panels = [Panel(f"{name}, {m}", magnitude(x)) for name, images in rows.items() for m, x in images.items()]
    return gallery(panels, len(panels) // len(rows), window=(0.0, top))


if __name__ == "__main__":
    main()
