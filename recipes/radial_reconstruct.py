"""A measured radial scan, from raw samples to images: y_s = a_s A_s x + n with everything estimated from the data.

Steps: read-out oversampling removed; coils whitened by the noise at the edge of k-space; gains a_s of the spokes from
their overlap; coil maps (ESPIRiT) from the gridded centre; then several methods, with all spokes and with every third.

Printed for each: chi2 = |A x - y|^2 / (m sigma^2), overall and by distance from the centre of k-space. It is about 1
where the image explains the samples to the noise. Near the centre the signal is many times the noise, so that errors of
one per cent in maps, trajectory or gains show there; the outer rings hold most samples.

    python recipes/radial_reconstruct.py phantom_radial_16ch.h5 --size 192 --out radial.png
"""

import argparse
import math
from itertools import pairwise
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

import invdiff
from invdiff.data.coils import espirit
from invdiff.data.trajectory_files import read_samples, read_trajectory
from invdiff.operators import NonCartesianMRI
from invdiff.operators.coil_mixing import mix_coils
from invdiff.operators.fourier import centred_fft2
from invdiff.operators.readout import decimate
from invdiff.operators.readout_gains import readout_gains
from invdiff.operators.whitening import noise_covariance, outermost, whitening_matrix
from invdiff.plotting import magnitude, save_figure
from invdiff.shapes import norm

RINGS = (0, 3, 12, 24, 48, 1000)  # cycles per field of view
KERNEL, CALIBRATION = 5, 24  # ESPIRiT's patches, and its largest block


def main() -> None:
    args = _arguments()
    samples, trajectory = read_samples(args.file), read_trajectory(args.file)  # (coil, spoke, n), (spoke, n, 2)
    samples, trajectory = decimate(samples, trajectory, args.oversampling)
    samples = whitened(samples, trajectory)
    rows: dict[str, dict[str, Tensor]] = {}
    for step in args.every:
        part, k = samples[:, ::step], trajectory[::step]
        if args.gains:
            part = part / readout_gains(part, k)[:, None]
        y, op = scan(part, k, (args.size, args.size))
        name = f"{len(k)} spokes"
        print(f"{name}: noise level {float(op.estimate_sigma(y)):.3f} after whitening to 1")
        rows[name] = {"gridding": op.gridding(y)}
        for method in args.methods:
            result = invdiff.solve(y, op, method=method)
            rows[name][method] = result.x
            report(result, y, op)
    save_figure(figure(rows), args.out)
    print(f"wrote {args.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="HDF5 with kspace (coil, spoke, n) and trajectory (spoke, n, 2)")
    parser.add_argument("--size", type=int, default=192, help="pixels on a side of the image")
    parser.add_argument("--oversampling", type=int, default=2, help="of the read-out, removed; 1 for none")
    parser.add_argument("--every", type=int, nargs="+", default=[1, 3], help="take every so many spokes")
    parser.add_argument("--methods", nargs="+", default=["cg", "tv", "wavelet"])
    parser.add_argument("--no-gains", dest="gains", action="store_false", help="take all spokes as equal")
    parser.add_argument("--out", type=Path, default=Path("radial.png"))
    return parser.parse_args()


def whitened(samples: Tensor, trajectory: Tensor) -> Tensor:
    """Samples (coil, spoke, n) of unit noise, independent between coils."""
    covariance = noise_covariance(outermost(samples.flatten(1), trajectory.flatten(0, 1)))
    return mix_coils(samples[None], whitening_matrix(covariance))[0]


def scan(samples: Tensor, trajectory: Tensor, shape: tuple[int, int]) -> tuple[Tensor, NonCartesianMRI]:
    """y (1, coil, spoke n) and its operator, with maps from the samples themselves."""
    k, y = trajectory.flatten(0, 1), samples.flatten(1)
    coil = NonCartesianMRI(k, shape=shape)
    grid = centred_fft2(coil.gridding(y[:, None]))[:, 0]  # every coil as an item of the batch
    width = min(CALIBRATION, 2 * int(len(trajectory) / math.pi))  # where neighbouring spokes are a cycle apart
    maps = espirit(grid, width=width, kernel=KERNEL)
    return y[None], NonCartesianMRI(k, maps, density=coil.density)


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
    columns = max(len(images) for images in rows.values())
    drawn = Figure(figsize=(2.6 * columns, 2.8 * len(rows)), layout="constrained")
    FigureCanvasAgg(drawn)
    top = max(float(torch.quantile(x.abs(), 0.995)) for images in rows.values() for x in images.values())
    for axes, (name, images) in zip(drawn.subplots(len(rows), columns, squeeze=False), rows.items(), strict=True):
        for axis, (method, x) in zip(axes, images.items(), strict=True):
            axis.imshow(magnitude(x), cmap="gray", vmin=0, vmax=top, interpolation="nearest")
            axis.set(xticks=[], yticks=[], title=method)
        axes[0].set_ylabel(name)
    return drawn


if __name__ == "__main__":
    main()
