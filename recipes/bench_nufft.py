"""Times and errors of the non-uniform transform and of its normal operator against finufft and torchkbnufft.

Every round calls all methods in turn, and ratios are taken inside a round, so that a machine whose speed drifts does
not favour one of them. The table gives the median time, the median ratio to finufft (a kept plan of tolerance 1e-3;
below 1 is faster) and the error for white noise: of A and A^H against sums in double precision over a part of the
samples or pixels, of A^H A against our kernel, which the tests hold to 1e-6.

    pip install finufft torchkbnufft  # the latter is left out where it is not installed
    python recipes/bench_nufft.py --rounds 9 --threads 1
"""

import argparse
import importlib.util
import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from bench_operators import hardware, timed
from torch import Tensor

from invdiff.data.trajectories import radial
from invdiff.operators import NonCartesianMRI
from invdiff.operators.nufft import make_nufft

Map = Callable[[Tensor], Tensor]
Maps = tuple[Map, Map, Map | None]  # A, A^H, A^H A
BASIS, OURS = "finufft, plan 1e-3", "invdiff, default"
PART = 60  # samples or pixels that the error is taken over


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    n = args.size
    k = radial(args.spokes, (n, n), samples=args.samples).flatten(0, 1)
    print(hardware(torch.device("cpu")))
    for coils in args.coils:
        title = f"{n} x {n}, {args.spokes} x {args.samples} samples, {coils} coils"
        print(f"{title:60}{'ms':>10}{'ratio':>8}{'error':>10}")
        generator = torch.Generator().manual_seed(0)
        x, y = (torch.randn(1, coils, *s, generator=generator, dtype=torch.complex64) for s in ((n, n), (len(k),)))
        with torch.no_grad():
            methods = all_methods(k, n, coils, args.threads)
            reference = methods[OURS][2]
            assert reference is not None
            normal = torch.arange(n * n), reference(x).flatten(2)
            for what, i, data, exact in (
                ("A", 0, x, some_samples(x, k)),
                ("A^H", 1, y, some_pixels(y, k, n)),
                ("A^H A", 2, x, normal),
            ):
                calls = {name: maps[i] for name, maps in methods.items()}
                compare(what, {name: call for name, call in calls.items() if call}, data, exact, args.rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=256, help="pixels on a side of the image")
    parser.add_argument("--spokes", type=int, default=402)
    parser.add_argument("--samples", type=int, default=512, help="per spoke")
    parser.add_argument("--coils", type=int, nargs="+", default=[1, 8])
    return parser.parse_args()


def all_methods(k: Tensor, n: int, coils: int, threads: int) -> dict[str, Maps]:
    """What is compared."""
    default, high = (make_nufft(k, (n, n), coils, accuracy) for accuracy in ("default", "high"))
    single = NonCartesianMRI(k, shape=(n, n))  # its normal operator takes the coils as items of a batch
    found: dict[str, Maps] = {
        OURS: (default, default.adjoint, lambda x: single.normal(x[0, :, None])[None, :, 0]),
        "invdiff, high": (high, high.adjoint, None),
    }
    points = (2 * math.pi / n * k).float().T.contiguous()
    for tolerance in ("1e-3", "1e-4", "1e-6"):
        found[f"finufft, plan {tolerance}"] = finufft_maps(points, n, coils, float(tolerance), threads)
    if importlib.util.find_spec("torchkbnufft"):
        found["torchkbnufft"] = torchkbnufft_maps(points, n)
    return found


def finufft_maps(points: Tensor, n: int, coils: int, tolerance: float, threads: int) -> Maps:
    """With two kept plans, in single precision."""
    library: Any = importlib.import_module("finufft")
    plans = []
    for kind, sign in ((2, -1), (1, 1)):
        plan = library.Plan(kind, (n, n), coils, tolerance, sign, dtype="complex64", nthreads=threads)
        plan.setpts(*points.numpy())
        plans.append(plan)

    def forward(x: Tensor) -> Tensor:
        return torch.from_numpy(plans[0].execute(x[0].numpy())).reshape(1, coils, -1) / n

    def adjoint(y: Tensor) -> Tensor:
        return torch.from_numpy(plans[1].execute(y[0].numpy())).reshape(1, coils, n, n) / n

    return forward, adjoint, lambda x: adjoint(forward(x))


def torchkbnufft_maps(points: Tensor, n: int) -> Maps:
    """In the library's default setting, a table."""
    library: Any = importlib.import_module("torchkbnufft")
    forward, adjoint = library.KbNufft((n, n)), library.KbNufftAdjoint((n, n))
    normal, kernel = library.ToepNufft(), library.calc_toeplitz_kernel(points, (n, n))
    return (
        lambda x: forward(x, points) / n,
        lambda y: adjoint(y, points) / n,
        lambda x: normal(x, kernel) / n**2,
    )


def harmonics(k: Tensor, r: Tensor, n: int) -> Tensor:
    """exp(-2 pi i k r / n) / sqrt(n), (k, r)."""
    turns = k[:, None] * (r - n // 2) / n
    return torch.polar(torch.full_like(turns, n**-0.5), -2 * math.pi * turns)


def some_samples(x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Which samples, and their exact values."""
    part, n = torch.linspace(0, len(k) - 1, min(PART, len(k))).long(), x.shape[-1]
    rows, columns = (harmonics(k[part, axis], torch.arange(n), n) for axis in (0, 1))
    return part, torch.einsum("ja,jb,xcab->xcj", rows, columns, x.to(torch.complex128))


def some_pixels(y: Tensor, k: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Which pixels of the flattened image, and their exact values."""
    part = torch.linspace(0, n * n - 1, min(PART, n * n)).long()
    waves = harmonics(k[:, 0], part // n, n) * harmonics(k[:, 1], part % n, n)
    return part, y.to(torch.complex128) @ waves.conj()


def compare(what: str, methods: dict[str, Map], data: Tensor, exact: tuple[Tensor, Tensor], rounds: int) -> None:
    part, wanted = exact
    errors = {
        m: float((call(data).flatten(2)[..., part] - wanted).norm() / wanted.norm()) for m, call in methods.items()
    }
    calls = {m: partial(call, data) for m, call in methods.items()}
    seconds = [{m: timed(call, data.device) for m, call in calls.items()} for _ in range(rounds)]
    for m in methods:
        median = 1e3 * statistics.median(turn[m] for turn in seconds)
        ratio = statistics.median(turn[m] / turn[BASIS] for turn in seconds)
        print(f"  {what:8}{m:50}{median:10.2f}{ratio:8.2f}{errors[m]:10.1e}", flush=True)


if __name__ == "__main__":
    main()
