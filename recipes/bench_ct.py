"""Times of the projectors against scikit-image, and against ASTRA and deepinv where they are installed; accuracy.

Every round calls all methods in turn, and ratios are taken inside a round, so that a machine whose speed drifts does
not favour one of them. The tables give the median time per image and the median ratio to the basis (above 1: so many
times faster than the basis is slow). Compilation is left out; set-up is timed apart. Without a CUDA device its row says
so. Accuracy is that of `ct_accuracy`.

    python recipes/bench_ct.py --rounds 7
"""

import argparse
import importlib
import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from bench_operators import hardware, timed
from ct_accuracy import rows
from torch import Tensor

from invdiff.data.ellipses import eight_ellipses, ellipse_image
from invdiff.operators import FanBeamCT, ParallelBeamCT
from invdiff.operators.ct import Projector

Calls = dict[str, Callable[[], Any]]
OURS, BATCH, THREADS, FAN = "invdiff", "invdiff, 8 images", "invdiff, two threads", "invdiff, fan beam"
PEERS = ("scikit-image", "ASTRA linear", "deepinv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=512, help="pixels on a side of the image")
    parser.add_argument("--views", type=int, default=360)
    args = parser.parse_args()
    torch.set_num_threads(1)
    n, angles = args.size, torch.arange(args.views, dtype=torch.float64) * math.pi / args.views
    x = ellipse_image(eight_ellipses(0.475 * n), (n, n)).float()[None, None]
    make: Callable[[], Any] = partial(ParallelBeamCT, angles, (n, n))
    op = make()
    fan = FanBeamCT(2 * angles, (n, n), op.geometry.bins, source_distance=2.0 * n, detector_distance=1.0 * n)
    y = op(x)
    print(hardware(torch.device("cpu")), f"\n{n} x {n}, {args.views} views, {op.geometry.bins} bins, float32")
    for what, calls, bars in (
        ("forward", forward_calls(op, fan, x), (20, 5, 5)),
        ("adjoint", adjoint_calls(op, fan, y), (4, 2.5, 9)),
    ):
        report(what, calls, args.rounds, bars)
    setups = [timed(make, torch.device("cpu")) for _ in range(args.rounds)]
    print(f"set-up, kernels compiled: {1e3 * statistics.median(setups):.2f} ms (bar 50)")
    left, right = (op(x).double() * y).sum(), (x.double() * op.adjoint(y)).sum()
    print(f"dot test, float32: {float((left - right).abs() / left.abs()):.1e} (bar 1e-6)")
    print(device_times(args.rounds))
    for line in rows():
        print(line, flush=True)


def device_times(rounds: int, size: int = 512, views: int = 720, batch: int = 16) -> str:
    """Medians on CUDA, or that there is none."""
    what = f"CUDA, {size} x {size}, {views} views, batch of {batch}"
    if not torch.cuda.is_available():
        return f"{what}: not run, no device (bars: forward 2.5 ms, adjoint 3 ms on an H200)"
    device = torch.device("cuda")
    angles = torch.arange(views, dtype=torch.float64) * math.pi / views
    op = ParallelBeamCT(angles, (size, size)).to(device)
    x = torch.rand(batch, 1, size, size, device=device)
    y, found = op(x), {}
    for name, call in (("forward", partial(op, x)), ("adjoint", partial(op.adjoint, y))):
        call()
        found[name] = 1e3 * statistics.median(timed(call, device) for _ in range(rounds))
    return f"{what}, {hardware(device)}: forward {found['forward']:.2f} ms, adjoint {found['adjoint']:.2f} ms"


def forward_calls(op: Projector, fan: Projector, x: Tensor) -> Calls:
    several, image = x.expand(8, -1, -1, -1).contiguous(), x[0, 0].numpy()
    calls = own_calls(op, fan, x, several)
    transform: Any = importlib.import_module("skimage.transform")
    theta = torch.rad2deg(torch.tensor(op.geometry.angles)).numpy()
    calls["scikit-image"] = lambda: transform.radon(image, theta, circle=False)
    if importable("astra"):
        projector = astra_projector(op)
        calls["ASTRA linear"] = lambda: projector * image.ravel()
    if importable("deepinv"):
        peer = deepinv_projector(op)
        calls["deepinv"] = lambda: peer.A(x)
    return calls


def adjoint_calls(op: Projector, fan: Projector, y: Tensor) -> Calls:
    several, sinogram = y.expand(8, -1, -1, -1).contiguous(), y[0, 0].numpy()
    calls = own_calls(op.H, fan.H, y, several)
    transform: Any = importlib.import_module("skimage.transform")
    theta, n = torch.rad2deg(torch.tensor(op.geometry.angles)).numpy(), op.geometry.shape[0]
    calls["scikit-image"] = lambda: transform.iradon(sinogram.T, theta, n, filter_name=None, circle=False)
    if importable("astra"):
        projector = astra_projector(op)
        calls["ASTRA linear"] = lambda: projector.T * sinogram.ravel()
    if importable("deepinv"):
        peer = deepinv_projector(op)
        measured = peer.A(torch.zeros(1, 1, *op.geometry.shape))
        calls["deepinv"] = lambda: peer.A_adjoint(measured)
    return calls


def own_calls(op: Callable[[Tensor], Tensor], fan: Callable[[Tensor], Tensor], one: Tensor, several: Tensor) -> Calls:
    def threaded() -> Tensor:
        torch.set_num_threads(2)
        try:
            return op(one)
        finally:
            torch.set_num_threads(1)

    return {OURS: lambda: op(one), BATCH: lambda: op(several), THREADS: threaded, FAN: lambda: fan(one)}


def astra_projector(op: Projector) -> Any:
    """ASTRA's linear operator on the CPU, Joseph's model."""
    from invdiff.operators.ct_conventions import to_astra

    astra: Any = importlib.import_module("astra")
    projection, volume = to_astra(op.geometry)
    (rows, columns), edges = op.geometry.shape, volume["option"]
    space = astra.create_vol_geom(rows, columns, *(edges[f"Window{end}"] for end in ("MinX", "MaxX", "MinY", "MaxY")))
    scan = astra.create_proj_geom("parallel_vec", projection["DetectorCount"], projection["Vectors"])
    return astra.OpTomo(astra.create_projector("linear", scan, space))


def deepinv_projector(op: Projector) -> Any:
    """In its default form: image and adjoint by rotation, the adjoint exact; it has n bins."""
    physics: Any = importlib.import_module("deepinv.physics")
    theta = torch.rad2deg(torch.tensor(op.geometry.angles, dtype=torch.float32))
    return physics.Tomography(angles=theta, img_width=op.geometry.shape[0], circle=False, normalize=False)


def report(what: str, calls: Calls, rounds: int, bars: tuple[float, float, float]) -> None:
    for call in calls.values():
        call()  # compiles
    seconds = [{name: timed(call, torch.device("cpu")) for name, call in calls.items()} for _ in range(rounds)]

    def ratio(a: str, b: str) -> float:
        return statistics.median(turn[a] / turn[b] for turn in seconds)

    for name in calls:
        images = 8 if name == BATCH else 1
        print(f"{what:9}{name:24}{1e3 * statistics.median(turn[name] for turn in seconds) / images:10.1f} ms per image")
    print(f"{'':9}batch of 8, per image, against one: {ratio(BATCH, OURS) / 8:.2f} (bar 0.75)")
    print(f"{'':9}one thread against two: {ratio(OURS, THREADS):.2f} (bar 1.7, where two cores are free)")
    print(f"{'':9}fan against parallel: {ratio(FAN, OURS):.2f} (bar 1.5)")
    for peer, bar in zip(PEERS, bars, strict=True):
        print(
            f"{'':9}{peer} against ours: {f'{ratio(peer, OURS):.1f} (bar {bar})' if peer in calls else 'not installed'}"
        )


def importable(name: str) -> bool:
    """Installed, and with it all that it needs."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main()
