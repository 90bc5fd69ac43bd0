"""How faithful samples of a learned prior's posterior are, with no truth: Stein's identity by method.

    python recipes/posterior_fidelity.py --samples 8
    python recipes/posterior_fidelity.py --data slices.h5 --slice 40

Single-coil MRI at 4x of the packaged slice, or of one of val/images of `slices.h5`, 128x128, noise 0.02. For every
method the variance of its samples in units of the posterior's, and the kernel discrepancy in its standard errors, with
the posterior's score from the prior at two noise levels (see `invdiff.stein`). The last rows are controls: the samples
of the first method squeezed to half of their spread, and draws of the prior that ignore the data.
"""

import argparse
import math
from pathlib import Path

from held_out import held_out
from torch import Tensor

import invdiff
from invdiff import demo
from invdiff.data.masks import cartesian_mask
from invdiff.operators import CartesianMRI
from invdiff.priors import Prior
from invdiff.sampling import sample
from invdiff.stein import kernel_stein, posterior_score, stein_variance
from invdiff.units import identity

SIZE, SIGMA_Y, LEVELS = 128, 0.02, (0.02, 0.05)
METHODS = ("daps", "pnp-dm", "pigdm", "ddnm", "diffpir", "dc-pnp", "dds")


def truth(path: Path | None, index: int) -> Tensor:
    """(1, 1, SIZE, SIZE) complex, maximum 1."""
    return demo.simulate(0).truth if path is None else held_out(path, [index], SIZE)


def row(name: str, samples: Tensor, y: Tensor, op: CartesianMRI, prior: Prior) -> str:
    cells = [name]
    for sigma in LEVELS:
        scores = posterior_score(samples, y, op, prior, SIGMA_Y, sigma)
        variance, kernel = stein_variance(samples, scores), kernel_stein(samples, scores)
        cells += [f"{variance.value:.2f} +- {variance.error:.2f}", f"{kernel.value / kernel.error:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="HDF5 file with val/images (n, h, w)")
    parser.add_argument("--slice", type=int, default=0, help="of --data")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--prior", default="brain-mri")
    options = parser.parse_args(arguments)
    prior = invdiff.load_prior(options.prior)
    x = truth(options.data, options.slice)
    op = CartesianMRI(cartesian_mask(SIZE, 4, SIZE // 12, seed=0), shape=(1, SIZE, SIZE))
    y = op.simulate(x, SIGMA_Y, seed=0)
    print(
        f"{options.samples} samples, {SIZE}x{SIZE}, sigma_y {SIGMA_Y}: variance, and kernel discrepancy in its errors\n"
    )
    print("| | " + " | ".join(f"variance, sigma {s} | kernel" for s in LEVELS) + " |")
    print("|---|" + "---:|" * (2 * len(LEVELS)))
    first = None
    for method in options.methods:
        more = {"num_samples": options.samples, "scale": identity(1), "seed": 0, "progress": False}
        samples = invdiff.solve(y, op, prior, method, sigma_y=SIGMA_Y, **more).samples[0]
        first = samples if first is None else first
        print(row(f"`{method}`", samples, y, op, prior), flush=True)
    assert first is not None
    print(row("spread halved", first.mean(0) + (first - first.mean(0)) / 2, y, op, prior))
    blind = sample(prior, options.samples, shape=(1, SIZE, SIZE), seed=1)
    print(row("data ignored", blind, y, op, prior))
    print(f"\nreal values in an image: {2 * math.prod(op.shape_in)}")


if __name__ == "__main__":
    main()
