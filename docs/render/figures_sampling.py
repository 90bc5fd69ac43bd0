"""Masks, trajectories and coil maps as the library draws them."""

import torch
from matplotlib.figure import Figure

from invdiff.data.coils import simulate_maps
from invdiff.data.masks import achieved_acceleration, cartesian_mask
from invdiff.data.masks_points import poisson_mask, radial_mask, spiral_mask
from invdiff.data.trajectories import radial, spiral
from invdiff.operators.partial_fourier import partial_fourier_mask

N = 128


def masks() -> Figure:
    """Sampling masks of 128x128, lines and points, with what they achieve."""
    drawn = {
        "cartesian_mask\nrandom": cartesian_mask(N, 4, 12, seed=0),
        "cartesian_mask\nequispaced": cartesian_mask(N, 4, 12, kind="equispaced", seed=0),
        "partial_fourier_mask\n5/8": partial_fourier_mask(N, 0.625),
        "poisson_mask": poisson_mask((N, N), 4, 16, seed=0),
        "radial_mask\n32 spokes": radial_mask((N, N), 32),
        "spiral_mask\n8 interleaves": spiral_mask((N, N), 8, 4),
    }
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    for axis, (name, mask) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
        axis.imshow(mask.expand(N, N), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set(xticks=[0, N // 2, N - 1], yticks=[])
        axis.set_title(name, fontsize=8)
        axis.set_xlabel(f"R = {achieved_acceleration(mask):.2f}", fontsize=8)
    return figure


def trajectories() -> Figure:
    """Radial and spiral trajectories for 64x64 pixels, in cycles per field of view."""
    drawn = {
        "radial, 13 spokes": radial(13, (64, 64)),
        "radial, golden angle": radial(13, (64, 64), order="golden"),
        "spiral, 4 interleaves": spiral(4, (64, 64)),
        "spiral, density 2": spiral(4, (64, 64), density=2.0),
    }
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    for axis, (name, k) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
        for readout in torch.as_tensor(k):
            axis.plot(readout[:, 1], readout[:, 0], lw=0.7)
        axis.set(aspect="equal", xlim=(-33, 33), ylim=(33, -33), xlabel="axis 1 (columns)", title=name)
        axis.title.set_fontsize(9)
    figure.axes[0].set_ylabel("axis 0 (rows), cycles per field of view")
    return figure


def coils() -> Figure:
    """Magnitudes of simulated coil maps."""
    maps = simulate_maps(8, (N, N), seed=0)
    figure = Figure(figsize=(9, 1.6), layout="constrained")
    axes = figure.subplots(1, len(maps))
    for c, axis in enumerate(axes):
        shown = axis.imshow(maps[c].abs(), cmap="viridis", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[], title=f"coil {c}")
    figure.colorbar(shown, ax=list(axes), label="|s|")
    return figure
