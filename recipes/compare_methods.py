"""Methods by operator on the packaged brain slice: PSNR of magnitudes in dB, evaluations and seconds.

    python recipes/compare_methods.py --markdown

The slice is 128x128 with a smooth phase; noise 0.01 per real component, image maximum 1. Every method runs as `solve`
sets it and is told the noise level; none sees the truth. A dash: the method does not work behind the operator. All
methods take hours, most of them the networks that are fitted to each scan; --methods and --cases name some.
"""

import argparse
import platform
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import invdiff
from invdiff import demo
from invdiff.data.masks import cartesian_mask
from invdiff.metrics import psnr
from invdiff.operators import CartesianMRI, Downsampling, GaussianBlur, Inpainting, MotionBlur
from invdiff.operators.base import LinearOperator, Operator
from invdiff.plotting import magnitude
from invdiff.priors import Prior
from invdiff.result import Result

SIZE, SIGMA = 128, 0.01
SHAPE = (1, SIZE, SIZE)


def random_pixels(share: float) -> Tensor:
    return torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < share


def box() -> Tensor:
    mask = torch.ones(SIZE, SIZE, dtype=torch.bool)
    mask[44:84, 44:84] = False
    return mask


def multi_coil() -> tuple[Operator, Tensor]:
    scan = demo.simulate(0)
    return demo.operator(scan), scan.kspace


def simulated(make: Callable[[], Operator]) -> tuple[Operator, Tensor]:
    op = make()
    return op, op.simulate(demo.simulate(0).truth, SIGMA, seed=0)


def single_coil(rate: float, lines: int) -> CartesianMRI:
    return CartesianMRI(cartesian_mask(SIZE, rate, lines, seed=0), shape=SHAPE)


OPERATORS: dict[str, Callable[[], LinearOperator]] = {
    "MRI 4x, 1 coil": lambda: single_coil(4, 10),
    "MRI 8x, 1 coil": lambda: single_coil(8, 5),
    "random inpainting, 30 % kept": lambda: Inpainting(random_pixels(0.3), SHAPE),
    "box inpainting, 40x40": lambda: Inpainting(box(), SHAPE),
    "Gaussian blur, std 2": lambda: GaussianBlur(2.0, SHAPE, size=25),
    "motion blur, 25x25": lambda: MotionBlur(SHAPE, size=25, seed=0),
    "super-resolution x4": lambda: Downsampling(4, SHAPE),
}
CASES: dict[str, Callable[[], tuple[Operator, Tensor]]] = {
    "MRI 4x, 8 coils": multi_coil,
    **{name: partial(simulated, make) for name, make in OPERATORS.items()},
}


def solve(op: Operator, y: Tensor, method: str, prior: Prior) -> Result | None:
    """None where the method does not work behind the operator."""
    if invdiff.METHODS[method].fits(op) is not None:
        return None
    sigma = None if isinstance(op, CartesianMRI) else SIGMA
    return invdiff.solve(y, op, prior, method, sigma_y=sigma, seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(invdiff.METHODS), choices=list(invdiff.METHODS))
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--markdown", action="store_true", help="print a table for a document")
    options = parser.parse_args()
    prior = invdiff.load_prior("brain-mri")
    truth = magnitude(demo.simulate(0).truth)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    rows, cost = [], dict.fromkeys(options.methods, (0, 0.0))
    for case in options.cases:
        op, y = CASES[case]()
        results = {m: r for m in options.methods if (r := solve(op, y, m, prior)) is not None}
        scores = {m: psnr(truth, magnitude(r.x)) for m, r in results.items()}
        cost |= {m: (max(cost[m][0], r.nfe), max(cost[m][1], r.seconds)) for m, r in results.items()}
        rows.append([case, *(f"{scores[m]:.1f}" if m in scores else "-" for m in options.methods)])
        print("  ".join(f"{m} {scores[m]:.2f} ({r.seconds:.1f} s)" for m, r in results.items()), case, flush=True)
    rows.append(["evaluations, at most", *(str(cost[m][0]) for m in options.methods)])
    rows.append(["seconds, at most", *(f"{cost[m][1]:.1f}" for m in options.methods)])
    if options.markdown:
        print("\n| | " + " | ".join(options.methods) + " |\n" + "|---|" + "---:|" * len(options.methods))
        print("\n".join("| " + " | ".join(row) + " |" for row in rows))


if __name__ == "__main__":
    main()
