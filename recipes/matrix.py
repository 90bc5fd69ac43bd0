"""Every method behind every operator: each cell runs and beats the adjoint, or is refused with a reason.

    python recipes/matrix.py
    PYTHONPATH=. python recipes/matrix.py --methods my_module:my_solver

Phantoms of 16x16 pixels (odd sizes where an operator has one), a Gaussian prior fitted to 200 others, noise 10 % of the
data, short settings. A cell is the error of the image against that of the adjoint, scaled to fit; behind a non-linear
operator, the misfit against that of the prior's mean. A dash: refused before the first step, reasons below the table.
A star: above 1.02, a failure (exit status 1) of methods with a prior; those without cannot always beat an adjoint that
is an image already.
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import invdiff
from invdiff.data.phantom import head_phantom
from invdiff.data.trajectories import radial
from invdiff.operators import (
    CartesianMRI,
    Downsampling,
    FanBeamCT,
    GaussianBlur,
    HighDynamicRange,
    Identity,
    Inpainting,
    LinearOperator,
    Magnitude,
    MotionBlur,
    NonCartesianMRI,
    NonlinearBlur,
    Operator,
    ParallelBeamCT,
    PhaseRetrieval,
    RealToComplex,
    Transmission,
    stack,
)
from invdiff.priors import GaussianPrior
from invdiff.solvers.named import Solver, method_named

N, NOISE = 16, 0.1
SHAPE = (1, N, N)
LINES = torch.tensor([i % 2 == 0 or abs(i - N // 2) < 2 for i in range(N)])
BOX = ((torch.arange(13) - 6).abs() > 2)[:, None].expand(13, 17)
PIXELS = torch.rand(N, N, generator=torch.Generator().manual_seed(0)) < 0.6
VIEWS = torch.arange(12) * math.pi / 12
SHORT: dict[str, dict[str, Any]] = {
    "dps": {"steps": 100, "zeta": 0.5},
    "sitcom": {"steps": 10, "inner": 10, "lr": 0.05},
    "red-diff": {"steps": 60},
    "daps": {"steps": 30},
    "pnp-dm": {"steps": 30},
    "udig-dip": {"rounds": 4, "every": 25, "lr": 1e-2, "channels": 8, "stop": "discrepancy"},
    "dip": {"iterations": 200, "channels": 16, "average": 0.1},
    "deep-decoder": {"iterations": 200, "channels": 32},
    "aseq-dip": {"iterations": 150, "lr": 1e-2, "lam": 0.1, "channels": 8, "average": 0.1},
    "self-guided-dip": {"iterations": 120, "lr": 1e-2, "draws": 2, "average": 0.1, "channels": 8},
    "sparse-dip": {"iterations": 200, "mask_iterations": 30, "sparsity": 0.3},
}
"""Options other than the defaults, so that a cell takes a second."""


def maps(height: int = N, width: int = N, coils: int = 3) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    angles = [2 * math.pi * c / coils for c in range(coils)]
    return torch.stack([torch.exp(-((x - math.cos(t)) ** 2) - (y - math.sin(t)) ** 2 + 1j * t * x) for t in angles])


OPERATORS: dict[str, Callable[[], Operator]] = {
    "denoising": lambda: Identity(SHAPE),
    "random inpainting": lambda: Inpainting(PIXELS, SHAPE),
    "box inpainting, 13x17": lambda: Inpainting(
        ((torch.arange(13) - 6).abs() > 2)[:, None].expand(13, 17), (1, 13, 17)
    ),
    "Gaussian blur": lambda: GaussianBlur(1.0, SHAPE, size=7),
    "motion blur, reflected": lambda: MotionBlur(SHAPE, size=7, seed=0, padding="reflect"),
    "super-resolution x2": lambda: Downsampling(2, SHAPE),
    "MRI, 1 coil": lambda: CartesianMRI(LINES, shape=(N, N)),
    "MRI, 3 coils": lambda: CartesianMRI(LINES, maps()),
    "MRI, 3 coils, points, 15x13": lambda: CartesianMRI(PIXELS[:15, :13] | (maps(15, 13)[0].abs() > 0.9), maps(15, 13)),
    "MRI, real image": lambda: CartesianMRI(LINES, maps()) @ RealToComplex(SHAPE),
    "radial MRI, 3 coils": lambda: NonCartesianMRI(radial(12, (N, N)).flatten(0, 1), maps()),
    "CT, parallel": lambda: ParallelBeamCT(VIEWS, (N, N)),
    "CT, fan, 15x17": lambda: FanBeamCT(2 * VIEWS, (15, 17), 40, source_distance=60.0, detector_distance=40.0),
    "blur and pixels": lambda: stack(GaussianBlur(1.5, SHAPE, size=7), Inpainting(PIXELS, SHAPE)),
    "sum of two blurs": lambda: GaussianBlur(0.5, SHAPE, size=5) + GaussianBlur(1.5, SHAPE, size=7),
    "magnitude MRI": lambda: Magnitude((3, N, N)) @ CartesianMRI(LINES, maps()),
    "phase retrieval": lambda: PhaseRetrieval(SHAPE),
    "high dynamic range": lambda: HighDynamicRange(SHAPE),
    "non-linear blur": lambda: NonlinearBlur(SHAPE, seed=0, size=5),
    "CT, photon counts": lambda: Transmission(0.05 * ParallelBeamCT(VIEWS, (N, N)), 1000.0),
}


def images(op: Operator, count: int) -> Tensor:
    """Head phantoms of the operator's size, complex ones with a smooth phase, (count, 1, H, W)."""
    height, width = op.shape_in[1:]
    phantoms = torch.stack([torch.as_tensor(head_phantom((height, width), seed=i)).float() for i in range(count)])
    ramp = torch.linspace(-1, 1, width) + torch.linspace(0, 0.5, height)[:, None]
    return (phantoms * torch.exp(1j * ramp) if op.complex_in else phantoms)[:, None]


def cell(name: str, method: Solver, op: Operator, prior: GaussianPrior, x: Tensor) -> float | str:
    """The ratio, or why there is none."""
    clean = op(x)
    sigma = NOISE * float(clean.abs().square().mean().sqrt())
    y = op.simulate(x, sigma, seed=1)
    steps: list[Any] = []
    settings: dict[str, Any] = {"sigma_y": sigma, "seed": 0, "scale": 1.0, "callback": steps.append}
    try:
        found = invdiff.solve(y, op, prior, method, **settings, **SHORT.get(name, {})).x
    except (ValueError, TypeError) as refusal:
        if steps:
            raise  # too late for a refusal
        return str(refusal)
    if not isinstance(op, LinearOperator):
        return float((op(found) - y).norm() / (op(prior.mean.expand_as(x)) - y).norm())
    return float((found - x).norm() / (invdiff.solve(y, op, None, "adjoint", sigma_y=sigma).x - x).norm())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(invdiff.METHODS), help="keys, or module:function")
    parser.add_argument("--operators", nargs="*", default=list(OPERATORS), choices=list(OPERATORS))
    options = parser.parse_args()
    solvers = {name: method_named(name) for name in options.methods}
    reasons: dict[str, list[str]] = {}
    ran, worse = 0, list[str]()
    print("| | " + " | ".join(options.methods) + " |\n|---|" + "---:|" * len(options.methods))
    for name in options.operators:
        op = OPERATORS[name]()
        x, known = images(op, 201).split([1, 200])
        prior = GaussianPrior.fit(known, rank=40)
        cells = {m: cell(m, solver, op, prior, x) for m, solver in solvers.items()}
        ratios = {m: c for m, c in cells.items() if isinstance(c, float)}
        ran, worse = ran + len(ratios), worse + [method for method, c in ratios.items() if not c <= 1.02]
        for method in cells.keys() - ratios.keys():
            reasons.setdefault(method, []).append(str(cells[method]))
        shown = [f"{c:.2f}" + ("" if c <= 1.02 else "*") if isinstance(c, float) else "-" for c in cells.values()]
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)
    print(f"\n{ran} cells ran, {sum(map(len, reasons.values()))} were refused, {len(worse)} have a star\n")
    print("\n".join(f"{len(why)} x {why[0]}" for why in reasons.values()))
    return int(any(method not in invdiff.METHODS or invdiff.METHODS[method].prior for method in worse))


if __name__ == "__main__":
    raise SystemExit(main())
