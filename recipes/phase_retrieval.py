"""Fourier phase retrieval from several starts, the one of least misfit being kept: what that is worth.

    python recipes/phase_retrieval.py --starts 8

Images are draws of a Gaussian prior, amplitudes are oversampled twice, and quality is PSNR up to the symmetries of the
amplitudes. `one start` is the mean over starts; `least misfit` is what `solve` keeps, from the data alone; `nearest to
the truth` is what a choice with the truth at hand would reach, and no method can; `mean image` is what averaging gives.
"""

import argparse
from statistics import mean
from typing import Any

import torch
from torch import Tensor

import invdiff
from invdiff.operators import PhaseRetrieval
from invdiff.priors.gaussian import GaussianPrior
from invdiff.symmetries import psnr_up_to_symmetries

SIZE, SIGMA = 16, 0.01
SETTINGS: dict[str, dict[str, Any]] = {"dps": {"steps": 200}, "sitcom": {"steps": 20, "inner": 20}}


def problem(
    images: int, size: int = SIZE, sigma: float = SIGMA
) -> tuple[GaussianPrior, PhaseRetrieval, Tensor, Tensor]:
    """Prior of smooth real images of standard deviation 0.3, operator, truth and data."""
    ky, kx = torch.meshgrid(torch.arange(size) - size // 2, torch.arange(size) - size // 2, indexing="ij")
    spectrum = 1 / (1 + (ky**2 + kx**2) / 2.0) ** 1.5
    prior = GaussianPrior.stationary(torch.zeros(1, size, size), (0.09 * spectrum / spectrum.mean())[None])
    op = PhaseRetrieval((1, size, size))
    truth = prior.sample(images, 11)
    return prior, op, truth, op.simulate(truth, sigma, seed=2)


def measure(method: str, images: int, starts: int, **options: Any) -> dict[str, float]:
    """PSNR in dB, the mean over images, by what is chosen."""
    prior, op, truth, y = problem(images)
    result = invdiff.solve(
        y, op, prior, method, sigma_y=SIGMA, num_samples=starts, select="misfit", seed=0, progress=False, **options
    )
    contrast = float(truth.max() - truth.min())

    def quality(x: Tensor) -> list[float]:
        return psnr_up_to_symmetries(truth, x, op, contrast)

    every = [quality(x) for x in result.samples.unbind(1)]
    return {
        "one start": mean(mean(start) for start in every),
        "least misfit": mean(quality(result.x)),
        "nearest to the truth": mean(max(of_image) for of_image in zip(*every, strict=True)),
        "mean image": mean(quality(result.mean)),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--methods", nargs="*", default=list(SETTINGS))
    options = parser.parse_args(arguments)
    print(f"PSNR / dB up to symmetries, {options.images} images {SIZE}x{SIZE}, sigma {SIGMA}, {options.starts} starts")
    for method in options.methods:
        row = measure(method, options.images, options.starts, **SETTINGS.get(method, {}))
        print(f"{method:10}" + "   ".join(f"{name} {value:.1f}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
