"""Fourier phase retrieval from several starts, the one of least misfit being kept: what that is worth.

    python recipes/phase_retrieval.py --starts 8
    python recipes/phase_retrieval.py --starts 4 --methods hio dcdp --data ct_train.h5

Amplitudes are oversampled twice. Images are draws of a Gaussian prior at 16x16, or with --data the held-out CT slices
that the packaged prior `ct` was validated with, 128x128, and noise is in units of that prior. Quality is PSNR up to the
symmetries of the amplitudes. `one start` is the mean over starts; `least misfit` is what `solve` keeps, from the data
alone; `nearest to the truth` is what a choice with the truth at hand would reach, and no method can; `mean image` is
what averaging gives. `above 25 dB` counts the images whose kept start is.
"""

import argparse
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from held_out import own_images
from torch import Tensor

import invdiff
from invdiff.operators import PhaseRetrieval
from invdiff.priors import Prior
from invdiff.priors.gaussian import GaussianPrior
from invdiff.symmetries import psnr_up_to_symmetries
from invdiff.units import by_window

SIZE, SIGMA, GOOD = 16, 0.01, 25.0
SETTINGS: dict[str, dict[str, Any]] = {"dps": {"steps": 200}, "sitcom": {"steps": 20, "inner": 20}}


class Problem(NamedTuple):
    """Images and their amplitudes, in physical units; peak: of PSNR; shifts: whether the margin of images is empty."""

    prior: Prior
    op: PhaseRetrieval
    truth: Tensor
    y: Tensor
    sigma: float
    peak: float
    shifts: bool


def draws(images: int, size: int = SIZE, sigma: float = SIGMA) -> Problem:
    """Smooth real images of standard deviation 0.3, drawn from their prior."""
    ky, kx = torch.meshgrid(torch.arange(size) - size // 2, torch.arange(size) - size // 2, indexing="ij")
    spectrum = 1 / (1 + (ky**2 + kx**2) / 2.0) ** 1.5
    prior = GaussianPrior.stationary(torch.zeros(1, size, size), (0.09 * spectrum / spectrum.mean())[None])
    op = PhaseRetrieval((1, size, size))
    truth = prior.sample(images, 11)
    peak = float(truth.max() - truth.min())
    return Problem(prior, op, truth, op.simulate(truth, sigma, seed=2), sigma, peak, False)


def slices(path: Path, images: int, part: str = "val", sigma: float = SIGMA) -> Problem:
    """CT slices of a part of the data, attenuation in mm^-1; sigma in units of the prior."""
    prior, x = invdiff.load_prior("ct"), own_images("ct", path, images, part)
    assert prior.window is not None
    units = by_window(len(x), prior.window, prior.range, "cpu")
    op, truth, level = PhaseRetrieval(tuple(x.shape[1:])), units.to_physical(x), sigma * float(units.scale[0])
    return Problem(prior, op, truth, op.simulate(truth, level, seed=2), level, prior.window[1], True)


def measure(method: str, p: Problem, starts: int, **options: Any) -> dict[str, list[float]]:
    """PSNR in dB of each image, by what is chosen."""
    prior = p.prior if invdiff.METHODS[method].prior else None
    result = invdiff.solve(
        p.y,
        p.op,
        prior,
        method,
        sigma_y=p.sigma,
        num_samples=starts,
        select="misfit",
        seed=0,
        progress=False,
        **options,
    )

    def quality(x: Tensor) -> list[float]:
        return psnr_up_to_symmetries(p.truth, x, p.op, p.peak, p.shifts or None)

    every = list(zip(*(quality(x) for x in result.samples.unbind(1)), strict=True))
    return {
        "one start": [mean(of_image) for of_image in every],
        "least misfit": quality(result.x),
        "nearest to the truth": [max(of_image) for of_image in every],
        "mean image": quality(result.mean),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="HDF5 file of CT slices, with the part `val`")
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--sigma", type=float, default=SIGMA, help="noise of the amplitudes")
    parser.add_argument("--methods", nargs="*", default=list(SETTINGS))
    options = parser.parse_args(arguments)
    p = draws(options.images, sigma=options.sigma)
    if options.data is not None:
        p = slices(options.data, options.images, sigma=options.sigma)
    size = "x".join(map(str, p.truth.shape[2:]))
    print(f"PSNR / dB up to symmetries, {len(p.y)} images {size}, sigma {options.sigma}, {options.starts} starts")
    for method in options.methods:
        settings = SETTINGS.get(method, {}) if options.data is None else {}
        row = measure(method, p, options.starts, **settings)
        kept = row["least misfit"]
        cells = [f"{name} {mean(values):.1f}" for name, values in row.items()]
        print(f"{method:10}" + "   ".join([*cells, f"above {GOOD:g} dB {sum(q > GOOD for q in kept)} of {len(kept)}"]))
        print(f"{'':10}" + "kept, by image: " + " ".join(f"{q:.1f}" for q in kept), flush=True)


if __name__ == "__main__":
    main()
