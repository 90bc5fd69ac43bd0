"""Blur kernels, what operators make of an image, and the curves of those that are not linear."""

import numpy as np
import torch
from matplotlib.figure import Figure

from invdiff.data.phantom import head_phantom
from invdiff.operators import (
    Anscombe,
    Downsampling,
    GaussianBlur,
    HighDynamicRange,
    Identity,
    Inpainting,
    MotionBlur,
    NonlinearBlur,
    PhaseRetrieval,
    Transmission,
)
from invdiff.operators.psf import gaussian_kernel, motion_kernel

N = 96


def kernels() -> Figure:
    """Blur kernels, each on its own scale, with its largest value."""
    drawn = {
        "Gaussian, sigma 3": gaussian_kernel(3.0, 31),
        "motion, intensity 0": motion_kernel(31, 0.0, 0),
        "motion, intensity 0.5": motion_kernel(31, 0.5, 0),
        "motion, intensity 1": motion_kernel(31, 1.0, 0),
    }
    figure = Figure(figsize=(8, 2.4), layout="constrained")
    for axis, (name, kernel) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
        axis.imshow(kernel, cmap="viridis", interpolation="nearest")
        axis.set(xticks=[0, 15, 30], yticks=[0, 15, 30], xlabel=f"largest {float(kernel.max()):.3g}")
        axis.set_title(name, fontsize=9)
    return figure


def images() -> Figure:
    """A phantom and what operators on images make of it, without noise, all on one scale but the amplitudes."""
    x = torch.as_tensor(head_phantom((N, N), seed=0))[None, None]
    shape = (1, N, N)
    pixels = torch.rand(N, N, generator=torch.Generator().manual_seed(0)) < 0.3
    made = {
        "x": x,
        "Inpainting, 30 %": Inpainting(pixels)(x),
        "Downsampling, 4": Downsampling(4, shape)(x),
        "GaussianBlur, 3": GaussianBlur(3.0, shape, size=31)(x),
        "MotionBlur": MotionBlur(shape, size=31)(x),
        "NonlinearBlur": NonlinearBlur(shape, range=(0.0, 1.0))(x),
        "HighDynamicRange": HighDynamicRange(shape, range=(0.0, 1.0))(x),
        "log PhaseRetrieval": PhaseRetrieval(shape)(x).clamp(min=1e-3).log(),
    }
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    for axis, (name, y) in zip(figure.subplots(2, 4).flat, made.items(), strict=True):
        limits = {} if name.startswith("log") else {"vmin": 0, "vmax": 1}
        axis.imshow(y[0, 0], cmap="gray", interpolation="nearest", **limits)
        axis.set(xticks=[], yticks=[], title=name, xlabel=f"{y.shape[-2]}x{y.shape[-1]}")
    return figure


def responses() -> Figure:
    """y against x of the operators that act on each value alone."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    contrast, counts, stable = figure.subplots(1, 3)
    x = torch.linspace(-1, 1, 201)[None]
    contrast.plot(x[0], HighDynamicRange((201,))(x)[0], color="#0072B2")
    contrast.set(xlabel="x", ylabel="y", title="HighDynamicRange, factor 2")
    p = torch.linspace(0, 8, 201)[None]
    counts.semilogy(p[0], Transmission(Identity((201,)), photons=1e5)(p)[0], color="#0072B2", label="b = 0")
    counts.semilogy(p[0], Transmission(Identity((201,)), 1e5, 1e3)(p)[0], color="#D55E00", label="b = 1000")
    counts.set(xlabel="line integral A x", ylabel="mean counts", title="Transmission, 1e5 photons")
    counts.legend(fontsize=8)
    mean = np.geomspace(0.1, 100, 60)
    draws = np.random.default_rng(0).poisson(mean, (20_000, 60))
    spread = Anscombe((60,))(torch.as_tensor(draws, dtype=torch.float32)).std(0)
    stable.semilogx(mean, spread, color="#0072B2")
    stable.axhline(1, color="#666666", ls=":", lw=0.8)
    stable.set(xlabel="mean count", ylabel="standard deviation of y", title="Anscombe")
    return figure
