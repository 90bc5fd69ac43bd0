"""Where the time of a diffusion solver goes: network, operator, everything else.

    python recipes/bench_overhead.py --size 128 --coils 8

Every prior evaluation and gradient and every call into the operator is timed from outside; the rest is the solver
itself. One warm-up, then medians over repeats.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import invdiff
from invdiff.data.coils import simulate_maps
from invdiff.data.masks import cartesian_mask
from invdiff.data.phantom import head_phantom
from invdiff.operators.base import LinearOperator
from invdiff.operators.mri import CartesianMRI
from invdiff.priors.prior import Prior, Pullback, denoise_vjp

RUNS: dict[str, dict[str, Any]] = {
    "sitcom": {"steps": 5, "inner": 8, "stop": 0.0, "tol": 0.0},
    "dps": {"steps": 40},
    "dds": {"steps": 40},
}
ENTRIES = ("forward", "_adjoint", "normal", "prox", "vjp", "norm", "reference_image", "estimate_sigma")


class Clock:
    """Adds up the time spent inside wrapped calls, nested ones once."""

    def __init__(self) -> None:
        self.total, self.depth = 0.0, 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self.depth:
                return function(*args, **kwargs)
            self.depth, begin = 1, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.depth, self.total = 0, self.total + time.perf_counter() - begin

        return timed


class TimedPrior:
    """A prior whose evaluations and gradients run on a clock."""

    def __init__(self, prior: Prior, clock: Clock) -> None:
        self.prior, self.clock = prior, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        out: Tensor = self.clock.wrap(self.prior)(x, sigma)
        return out

    def denoise_vjp(self, x: Tensor, sigma: Tensor | float) -> tuple[Tensor, Pullback]:
        x0, pull = self.clock.wrap(denoise_vjp)(self.prior, x, sigma)
        return x0, self.clock.wrap(pull)


def shares(method: str, op: LinearOperator, y: Tensor, prior: Prior) -> tuple[float, float, float]:
    """Seconds in all, in the network, in the operator."""
    network, operator = Clock(), Clock()
    originals = {name: getattr(op, name) for name in ENTRIES}
    for name, function in originals.items():
        object.__setattr__(op, name, operator.wrap(function))
    try:
        begin = time.perf_counter()
        invdiff.solve(y, op, TimedPrior(prior, network), method, sigma_y=0.01, seed=0, **RUNS[method])
        total = time.perf_counter() - begin
    finally:
        for name in originals:
            object.__delattr__(op, name)
    return total, network.total, operator.total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--batch", type=int, nargs="*", default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    shape = (options.size, options.size)
    op = CartesianMRI(cartesian_mask(options.size, 4, options.size // 12), simulate_maps(options.coils, shape, seed=0))
    op.norm()  # computed once per operator, not part of a run
    prior = invdiff.load_prior("brain-mri")
    image = torch.as_tensor(head_phantom(shape, 0)).to(torch.complex64)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{options.size}x{options.size}, {options.coils} coils, median of {options.repeats}")
    print(f"{'method':8}{'batch':>6}{'seconds':>9}{'network':>9}{'operator':>10}{'rest':>7}")
    for batch in options.batch:
        y = op.simulate(image.expand(batch, 1, *shape), 0.01)
        for method in RUNS:
            runs = [shares(method, op, y, prior) for _ in range(options.repeats + 1)][1:]
            total = statistics.median(r[0] for r in runs)
            network, operator = (statistics.median(r[i] / r[0] for r in runs) for i in (1, 2))
            rest = 1 - network - operator
            print(f"{method:8}{batch:6d}{total:9.2f}{network:9.1%}{operator:10.1%}{rest:7.1%}", flush=True)


if __name__ == "__main__":
    main()
