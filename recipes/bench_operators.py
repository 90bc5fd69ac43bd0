"""Times of the Cartesian and blur operators against the forms commonly used, in one run on one machine.

Every round calls all methods in turn, and ratios are taken inside a round, so that a machine whose speed drifts does
not favour one of them. The table gives the median time and the median ratio of the common form to ours.

    python recipes/bench_operators.py --rounds 9 --threads 1
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from invdiff.operators import Blur, CartesianMRI
from invdiff.operators.fourier import centred_fft2, centred_ifft2

Call = Callable[[], Tensor]
Pair = tuple[str, Call, Call]


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    print(hardware(device))
    print(f"{'operator':44}{'ours, ms':>12}{'common, ms':>12}{'ratio':>8}{'difference':>12}")
    with torch.no_grad():
        for batch in args.batches:
            for pair in mri_pairs(batch, args.coils, args.size, device):
                report(pair, args.rounds, device)
        report(blur_pair(args.blur_size, args.kernel, device), args.rounds, device)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 1])
    parser.add_argument("--coils", type=int, default=16)
    parser.add_argument("--size", type=int, default=320, help="pixels on a side of the MRI image")
    parser.add_argument("--blur-size", type=int, default=256, help="pixels on a side of the blurred image")
    parser.add_argument("--kernel", type=int, default=61, help="pixels on a side of the blur kernel, odd")
    return parser.parse_args()


def mri_pairs(batch: int, coils: int, n: int, device: torch.device) -> list[Pair]:
    """Forward, adjoint and normal of a scan with every fourth line, against shift, transform, shift."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.complex64).to(device)

    mask = torch.arange(n) % 4 == 0
    mask[n // 2 - n // 25 : n // 2 + n // 25] = True
    mask, maps, x = mask.to(device), draw(1, coils, n, n), draw(batch, 1, n, n)
    op = CartesianMRI(mask, maps)
    y = op(x)

    def forward(x: Tensor) -> Tensor:
        return mask * centred_fft2(maps * x)

    def adjoint(y: Tensor) -> Tensor:
        return (maps.conj() * centred_ifft2(mask * y)).sum(1, keepdim=True)

    label = f"CartesianMRI {coils} coils, {n} x {n}, batch {batch}"
    return [
        (f"{label}: A", lambda: op(x), lambda: forward(x)),
        (f"{label}: A^H", lambda: op.adjoint(y), lambda: adjoint(y)),
        (f"{label}: A^H A", lambda: op.normal(x), lambda: adjoint(forward(x))),
    ]


def blur_pair(n: int, size: int, device: torch.device) -> Pair:
    """A dense kernel with periodic borders, against direct convolution."""
    generator = torch.Generator().manual_seed(0)
    kernel = torch.rand(size, size, generator=generator).to(device) / size**2
    x = torch.randn(1, 3, n, n, generator=generator).to(device)
    op = Blur(kernel, (3, n, n)).to(device)
    weight, half = kernel.flip(0, 1).expand(3, 1, size, size).contiguous(), size // 2

    def direct() -> Tensor:
        return conv2d(pad(x, (half,) * 4, mode="circular"), weight, groups=3)

    return f"Blur {size} x {size}, 3 x {n} x {n}", lambda: op(x), direct


def report(pair: Pair, rounds: int, device: torch.device) -> None:
    name, ours, common = pair
    a, b = ours(), common()  # warm up, and show that both compute the same
    difference = float((a - b).norm() / b.norm())
    times = [(timed(ours, device), timed(common, device)) for _ in range(rounds)]
    mine, theirs = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(second / first for first, second in times)
    print(f"{name:44}{mine:12.2f}{theirs:12.2f}{ratio:8.2f}{difference:12.1e}", flush=True)


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, the device's queue emptied before and after."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def hardware(device: torch.device) -> str:
    """One line: processor or device, threads, versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else (names or [platform.processor()])[0]
    return f"{chip}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
