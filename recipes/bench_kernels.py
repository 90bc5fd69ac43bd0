"""The kernels against their floors: bytes and operations counted, ceilings measured in the same run.

    python recipes/bench_kernels.py --rounds 21

A floor is the time that memory or arithmetic needs for what a kernel must at least move or compute, at the rates of a
long copy and of a float32 matrix product, plus the time of the Fourier transforms inside, measured as they are. Every
round takes all of them in turn, and ratios are formed inside a round; on a CPU they fall below 1 where a loop over
coils stays in the cache. `plain` is the same call by torch alone.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from bench_operators import hardware, timed
from torch import Tensor
from torch.fft import fftn, ifftn

from invdiff.data.trajectories import radial
from invdiff.operators import CartesianMRI, NonCartesianMRI
from invdiff.operators.kernels.backend import using
from invdiff.operators.kernels.sense import combine, expand
from invdiff.operators.oversampled_grid import even_fast_size

Call = Callable[[], Tensor]
COMPLEX = 8  # bytes of a complex64


@dataclass(frozen=True)
class Case:
    """One call. bytes: moved outside its transforms; operations: of real numbers; bar: wanted ms at default sizes."""

    name: str
    call: Call
    bytes: int
    operations: int
    transforms: Sequence[Call] = ()
    bar: float = 0.0


def sense(args: argparse.Namespace, device: torch.device) -> list[Case]:
    """Coil images of a Cartesian scan, and its normal operator with a mask of points and of lines."""
    n, coils, batch = args.size, args.coils, args.batch
    maps, x, z = (noise(*s, n, n, device=device) for s in ((1, coils), (batch, 1), (batch, coils)))
    points = torch.arange(n * n, device=device).reshape(n, n) % 5 != 3
    lines = torch.arange(n, device=device) % 4 == 0
    title = f"SENSE, {coils} coils, {n} x {n}, batch {batch}"
    one, stack = (maps.numel() + x.numel() + z.numel()) * COMPLEX, z.numel() * COMPLEX
    cases = [
        Case(f"{title}: expand", partial(expand, x, maps), one, 6 * z.numel()),
        Case(f"{title}: combine", partial(combine, z, maps), one, 8 * z.numel()),
    ]
    for name, mask, axes, bar in (("points", points, (-2, -1), 0.35), ("lines", lines, (-1,), 0.22)):
        op = CartesianMRI(mask, maps)
        inside = partial(fftn, z, dim=axes), partial(ifftn, z, dim=axes, norm="forward")
        moved, count = 2 * one + 2 * stack, 20 * z.numel()  # the weights read and write the stack once more
        cases.append(Case(f"{title}: A^H A, {name}", partial(op.normal, x), moved, count, inside, bar))
    return cases


def toeplitz(args: argparse.Namespace, device: torch.device) -> list[Case]:
    """The normal operator of a radial scan, by convolution on a grid of twice the size."""
    n, coils, batch = 256, 8, args.batch
    m = even_fast_size(2 * n - 1)
    maps, x, padded = (noise(*s, device=device) for s in ((1, coils, n, n), (batch, 1, n, n), (batch, coils, m, m)))
    op, image = NonCartesianMRI(radial(64, (n, n)).flatten(0, 1), maps), batch * coils * n * n
    moved = (2 * (maps.numel() + x.numel()) + image + 3 * padded.numel()) * COMPLEX
    inside = partial(fftn, padded, dim=(-2, -1)), partial(ifftn, padded, dim=(-2, -1), norm="forward")
    name = f"Toeplitz, {coils} coils, {n} x {n}, batch {batch}: A^H A"
    return [Case(name, partial(op.normal, x), moved, 14 * image + 2 * padded.numel(), inside, 0.4)]


CASES: tuple[Callable[[argparse.Namespace, torch.device], list[Case]], ...] = (sense, toeplitz)  # projectors go here


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    for name in args.devices:
        if name == "cuda" and not torch.cuda.is_available():
            print("cuda: not run: no CUDA device")
            continue
        device = torch.device(name)
        print(hardware(device))
        with torch.no_grad():
            report([case for cases in CASES for case in cases(args, device)], args.rounds, device)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--devices", nargs="+", default=["cpu", "cuda"], choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--coils", type=int, default=16)
    parser.add_argument("--size", type=int, default=320, help="pixels on a side of the Cartesian image")
    return parser.parse_args()


def noise(*shape: int, device: torch.device) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.complex64).to(device)


def report(cases: list[Case], rounds: int, device: torch.device) -> None:
    """Medians over rounds; the first round, which compiles, does not count."""
    numbers, side = (1 << 28, 8192) if device.type == "cuda" else (1 << 25, 1024)
    source, matrix = torch.ones(numbers, device=device), torch.ones(side, side, device=device)
    copy, product = partial(torch.empty_like(source).copy_, source), partial(torch.mm, matrix, matrix)
    ceilings, turns = [], []
    for _ in range(rounds + 1):
        ceilings.append((8 * numbers / burst(copy, device), 2 * side**3 / burst(product, device)))  # per second
        turns.append([measured(case, *ceilings[-1], device) for case in cases])
    rate, speed = (statistics.median(column) for column in zip(*ceilings[1:], strict=True))
    print(f"copy {rate / 1e9:.0f} GB/s, float32 matrix product {speed / 1e12:.2f} TFLOP/s, medians of {rounds} rounds")
    print(f"{'':52}{'ms':>9}{'floor':>9}{'ratio':>7}{'plain':>9}{'bar':>7}")
    for i, case in enumerate(cases):
        rows = [turn[i] for turn in turns[1:]]
        ms, floor, plain = (1e3 * statistics.median(row[j] for row in rows) for j in range(3))
        ratio = statistics.median(row[0] / row[1] for row in rows)
        bar = f"{case.bar:7.2f}" if device.type == "cuda" and case.bar else ""
        print(f"{case.name:52}{ms:9.3f}{floor:9.3f}{ratio:7.2f}{plain:9.3f}{bar}", flush=True)


def measured(case: Case, rate: float, speed: float, device: torch.device) -> tuple[float, float, float]:
    """Seconds of the call, of its floor, and of the call by torch alone."""
    inside = sum(burst(transform, device) for transform in case.transforms)
    floor = max(case.bytes / rate, case.operations / speed) + inside
    seconds = burst(case.call, device)
    with using("torch"):
        return seconds, floor, burst(case.call, device)


def burst(call: Call, device: torch.device) -> float:
    """Seconds of one call, on a device among as many as keep its queue full."""
    calls = 20 if device.type == "cuda" else 1
    call()

    def repeat() -> Tensor:
        for _ in range(calls - 1):
            call()
        return call()

    return timed(repeat, device) / calls


if __name__ == "__main__":
    main()
