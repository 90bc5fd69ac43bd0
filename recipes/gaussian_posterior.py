"""Every solver against an exact posterior: a stationary Gaussian prior, single-coil Cartesian MRI, many draws.

    python recipes/gaussian_posterior.py --samples 200

Prints, for each method, the error of the mean in posterior standard deviations and the ratio of spreads, each in the
measured and in the unmeasured part of k-space, where prior and operator are both diagonal and the posterior is known
in closed form; methods that do not work behind such an operator are left out. Two rows frame the table: exact draws,
and draws from the prior that never saw the data.
"""

import argparse
import time
from typing import Any

import torch
from torch import Tensor

import invdiff
from invdiff.exactness import Exactness, diagonal_posterior, exactness
from invdiff.operators.fourier import centred_fft2
from invdiff.operators.mri import CartesianMRI
from invdiff.priors.gaussian import GaussianPrior
from invdiff.random import streams

SIZE, SIGMA = 32, 0.05
SETTINGS: dict[str, dict[str, Any]] = {
    "dps": {"steps": 400},
    "dds": {"steps": 100},
    "sitcom": {"steps": 20, "inner": 20},
}
"""Options other than the defaults."""


def problem(size: int = SIZE, sigma: float = SIGMA) -> tuple[GaussianPrior, Tensor, CartesianMRI, Tensor]:
    """Prior, its k-space variance (size, size), operator (every fourth line and eight central ones), and data."""
    ky, kx = torch.meshgrid(torch.arange(size) - size // 2, torch.arange(size) - size // 2, indexing="ij")
    variance = 1.5 / (1 + (ky**2 + kx**2) / 4.0) ** 1.5
    prior = GaussianPrior.stationary(torch.zeros(1, size, size, dtype=torch.complex64), variance[None])
    line = torch.arange(size)
    mask = (line % 4 == 0) | ((line - size // 2).abs() < 4)
    op = CartesianMRI(mask, shape=(size, size))
    return prior, variance, op, op.simulate(prior.sample(1, 11), sigma, seed=7)


def measure(method: str, samples: int, seed: int = 0, **options: Any) -> Exactness:
    """Draw `samples` solutions and compare them with the exact posterior."""
    prior, _, op, y = problem()
    result = invdiff.solve(y, op, prior, method, sigma_y=SIGMA, seed=seed, num_samples=samples, **options)
    return against(centred_fft2(result.samples[0, :, 0]))


def against(coefficients: Tensor) -> Exactness:
    """Compare k-space draws (S, size, size) with the exact posterior of `problem`."""
    _, variance, op, y = problem()
    assert op.sampled is not None
    measured = op.sampled[0, 0].expand(SIZE, SIZE)
    mean, std = diagonal_posterior(variance, y[0, 0], SIGMA, measured)
    return exactness(coefficients, mean, std, measured)


def controls(samples: int) -> dict[str, Exactness]:
    """Exact draws, and draws from the prior."""
    _, variance, op, y = problem()
    assert op.sampled is not None
    mean, std = diagonal_posterior(variance, y[0, 0], SIGMA, op.sampled[0, 0].expand(SIZE, SIZE))
    white = streams(5, samples)[0].like(torch.zeros(samples, SIZE, SIZE, dtype=torch.complex64))
    return {"exact": against(mean + std * white), "prior only": against(variance.sqrt() * white)}


def row(name: str, e: Exactness, note: str) -> str:
    numbers = f"{e.mean_measured:10.2f}{e.mean_unmeasured:12.2f}{e.spread_measured:10.2f}{e.spread_unmeasured:12.2f}"
    return f"{name:12}{numbers}  {note}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200)
    fit = [name for name, method in invdiff.METHODS.items() if method.fits(problem()[2]) is None]
    parser.add_argument("--methods", nargs="*", default=fit, choices=fit)
    options = parser.parse_args()
    floor = options.samples**-0.5
    print(
        f"{SIZE}x{SIZE} complex, sigma {SIGMA}, {options.samples} draws; exact draws show a mean error of {floor:.2f}"
    )
    print(f"{'':12}{'mean error / posterior std':>22}{'spread ratio':>22}")
    print(f"{'method':12}{'measured':>10}{'unmeasured':>12}{'measured':>10}{'unmeasured':>12}  kind")
    for name, e in controls(options.samples).items():
        print(row(name, e, "control"))
    for name in options.methods:
        begin = time.perf_counter()
        method = invdiff.METHODS[name]
        samples = options.samples if method.prior else 2
        e = measure(name, samples, **SETTINGS.get(name, {}))
        kind = "sampler" if method.sampler else "point estimate" if not method.prior else "optimiser, not a sampler"
        print(row(name, e, f"{kind}, {time.perf_counter() - begin:.0f} s"), flush=True)


if __name__ == "__main__":
    main()
