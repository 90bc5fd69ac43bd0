"""Few views: CT slices by filtered backprojection, total variation, diffusion; without a file, of a drawn body.

Photons are drawn for a slice at its full resolution, and images reconstructed on a grid half as fine, which misses
detail that the rays saw: MODEL_ERROR joins the noise of every ray. `--matched` draws them for the coarse image instead,
as no scanner does. The table gives PSNR (peak: 2000 HU; both images clipped to -1000..1000 HU), its deviation over
slices and the mean error in HU over the pixels of a kind: those that are of this kind through and through, with all
around them, in slices with SOLID of them (`--solid` takes such slices only). `--rods` draws discs of known HU into the
slices and gives the errors in their middle instead, as an acceptance test of a scanner does; sizes: see `RODS`.

    python recipes/ct_sparse_view.py --data ct_train.h5 --slices 4 --out ct_sparse_view.png
"""

import argparse
import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

import invdiff
from invdiff.data.ellipses import eight_ellipses, ellipse_image
from invdiff.data.images import open_images
from invdiff.data.line_integrals import line_integrals
from invdiff.metrics import psnr
from invdiff.operators import ParallelBeamCT, Transmission
from invdiff.plotting import Panel, gallery, save_figure
from invdiff.units import hu_to_mu, mu_to_hu

WINDOW, SOFT, DEEPEST = (-1000.0, 1000.0), (-250.0, 350.0), 8.0  # HU; HU; line integral
MODEL_ERROR = 0.015  # of a line integral, rms: 0.012 to 0.017 on four training slices of four subjects
KINDS = {"air": (-1100.0, -900.0), "soft": (-150.0, 150.0), "bone": (200.0, 3100.0)}  # HU
SOLID = 30  # pixels, the fewest whose mean is told
RODS = {"air": -1000.0, "water": 0.0, "bone": 955.0}  # HU; those of the ACR phantom, its sizes 1.6 times as large:
ROD, MIDDLE, APART = 40.0, 25.6, 45.0  # mm: diameter, that of what is averaged, distance from the body's centre


class Scan(NamedTuple):
    """So many views over so many degrees, each bin with so many photons without the patient."""

    views: int
    degrees: float = 180.0
    photons: float = 1e5


SCANS = {f"{n} views": Scan(n) for n in (8, 20, 60, 120)}
METHODS: dict[str, dict[str, Any]] = {"fbp": {"window": "shepp-logan"}, "tv": {"iterations": 200}}
METHODS |= {name: {"steps": 50} for name in ("dds", "diffpir", "dc-pnp")} | {"sitcom": {"solver": "tilt", "steps": 8}}
METHODS["dip"] = {"iterations": 600}


def main(scans: dict[str, Scan], about: str | None) -> None:
    args = _arguments(scans, about)
    prior = invdiff.load_prior(args.prior)
    scores: dict[tuple[str, str], list[tuple[float, dict[str, float]]]] = {}
    shown: dict[str, dict[str, Tensor]] = {}
    images = drawn() if args.data is None else slices(args.data, args.slices, args.solid)
    for number, (fine, pixel) in enumerate(images):
        x = with_rods(fine, pixel) if args.rods else fine
        truth = mu_to_hu(avg_pool2d(x, 2))
        for name in args.scans:
            p, sigma, op = measured(x, pixel, scans[name], number, args.matched)
            for method in args.methods:
                result = invdiff.solve(p, op, prior, method, sigma_y=sigma, seed=number, **METHODS[method])
                image = mu_to_hu(result.x)
                off = rod_errors(fine, pixel, image) if args.rods else errors(mu_to_hu(fine), image)
                scores.setdefault((name, method), []).append((quality(truth, image), off))
                shown.setdefault(name, {"truth": truth}).setdefault(method, image)
                print(f"slice {number}, {name}, {method}: PSNR {quality(truth, image):.2f} dB", flush=True)
    print(table(scores))
    save_figure(figure(shown), args.out)
    print(f"wrote {args.out}")


def _arguments(scans: dict[str, Scan], about: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="images in HU with a part `val` and pixel spacings")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--scans", nargs="+", default=list(scans), choices=scans)
    parser.add_argument("--methods", nargs="+", default=[m for m in METHODS if m != "dip"], choices=METHODS)
    parser.add_argument("--prior", default="ct")
    parser.add_argument("--matched", action="store_true", help="draw photons for the coarse image, free of model error")
    parser.add_argument("--solid", action="store_true", help=f"slices with {SOLID} pixels of every kind only")
    parser.add_argument("--rods", action="store_true", help="draw discs of known HU and measure in them")
    parser.add_argument("--out", type=Path, default=Path("ct.png"))
    return parser.parse_args()


def drawn() -> list[tuple[Tensor, float]]:
    """A body of ellipses, 256 x 256, and its pixel size."""
    return [(ellipse_image(eight_ellipses(165.0), (256, 256), (1.4, 1.4)).float()[None, None], 1.4)]


def slices(path: Path, count: int, solid: bool = False) -> list[tuple[Tensor, float]]:
    """Attenuation (1, 1, H, W), mm^-1, and pixel size, mm, of validation slices that light passes: no long bodies."""
    found = []
    for hu, spacing in zip(source := open_images(path, part="val"), source.spacings, strict=True):
        if spacing is None:
            raise SystemExit(f"{path} has no pixel spacings; line integrals need them.")
        mu = hu_to_mu(torch.from_numpy(hu).clamp(*WINDOW))[None, None]
        seen = spacing[0] * float(torch.maximum(mu.sum(2).max(), mu.sum(3).max())) < DEEPEST
        if seen and (not solid or all(int(pixels.sum()) >= SOLID for pixels in kinds(mu_to_hu(mu)).values())):
            found.append((mu, spacing[0]))
    return [found[i] for i in torch.linspace(0, len(found) - 1, min(count, len(found))).round().long().tolist()]


def with_rods(fine: Tensor, pixel: float) -> Tensor:
    """The slice with a disc of each of `RODS` about the body's centre."""
    for name, distance in rods(fine, pixel).items():
        fine = torch.where(distance < ROD / 2, hu_to_mu(RODS[name]), fine)
    return fine


def rods(fine: Tensor, pixel: float) -> dict[str, Tensor]:
    """Distance of every pixel from the axis of each rod, (1, 1, H, W) mm."""
    body = (fine > hu_to_mu(-300.0)).to(fine)
    places = [pixel * torch.arange(n).to(fine) for n in fine.shape[-2:]]
    y, x = torch.meshgrid(*places, indexing="ij")
    middle = [float((body * c).sum() / body.sum()) for c in (y, x)]
    turns = {name: 2 * math.pi * i / len(RODS) for i, name in enumerate(RODS)}
    return {
        name: torch.hypot(y - middle[0] - APART * math.cos(t), x - middle[1] - APART * math.sin(t))[None, None]
        for name, t in turns.items()
    }


def rod_errors(fine: Tensor, pixel: float, image: Tensor) -> dict[str, float]:
    """Mean error in the middle of each rod, HU."""
    inside = {name: -max_pool2d(-(d < MIDDLE / 2).float(), 2) > 0 for name, d in rods(fine, pixel).items()}
    return {name: float(image[pixels].mean()) - RODS[name] for name, pixels in inside.items()}


def measured(fine: Tensor, pixel: float, scan: Scan, seed: int, matched: bool) -> tuple[Tensor, Tensor, ParallelBeamCT]:
    """Line integrals, their standard deviations with the model's error, and the projector of the coarse image."""
    h, w = fine.shape[-2:]
    angles = torch.arange(scan.views, dtype=torch.float64) * math.radians(scan.degrees) / scan.views
    bins = math.ceil(math.hypot(h, w) / 2)
    exact = ParallelBeamCT(angles, (h, w), bins, pixel=pixel, bin_width=2 * pixel)
    coarse = ParallelBeamCT(angles, (h // 2, w // 2), bins, pixel=2 * pixel)
    seen, x = (coarse, avg_pool2d(fine, 2)) if matched else (exact, fine)
    p, variance = line_integrals(Transmission(seen, scan.photons).simulate(x, seed=seed), scan.photons)
    return p, (variance + (0.0 if matched else MODEL_ERROR) ** 2).sqrt(), coarse


def quality(truth: Tensor, image: Tensor) -> float:
    return psnr(truth[0, 0].clamp(*WINDOW), image[0, 0].clamp(*WINDOW), WINDOW[1] - WINDOW[0])


def kinds(fine: Tensor) -> dict[str, Tensor]:
    """Coarse pixels that are, with the eight around them, of one kind in every fine pixel, (1, 1, H, W) bool."""
    every = {name: ((fine > low) & (fine < high)).float() for name, (low, high) in KINDS.items()}
    return {name: -max_pool2d(max_pool2d(-kind, 2), 3, stride=1, padding=1) > 0 for name, kind in every.items()}


def errors(fine: Tensor, image: Tensor) -> dict[str, float]:
    """Mean error of each kind of pixel, HU; NaN where a slice has less than SOLID of it. fine: the truth in HU."""
    truth = avg_pool2d(fine, 2)
    return {
        name: float((image - truth)[pixels].mean()) if int(pixels.sum()) >= SOLID else math.nan
        for name, pixels in kinds(fine).items()
    }


def table(scores: dict[tuple[str, str], list[tuple[float, dict[str, float]]]]) -> str:
    names = list(next(iter(scores.values()))[0][1])
    lines = [f"{'scan':15}{'method':9}{'PSNR, dB':>10}{'sd':>6}" + "".join(f"{k + ', HU':>11}" for k in names)]
    for (name, method), found in scores.items():
        off = [[e[kind] for _, e in found if not math.isnan(e[kind])] for kind in names]
        means = "".join(f"{statistics.mean(values) if values else math.nan:11.1f}" for values in off)
        decibels = [q for q, _ in found]
        spread = statistics.stdev(decibels) if len(found) > 1 else math.nan
        lines.append(f"{name:15}{method:9}{statistics.mean(decibels):10.2f}{spread:6.2f}{means}")
    return "\n".join(lines)


def figure(shown: dict[str, dict[str, Tensor]]) -> Figure:
    """The first slice, soft-tissue window."""
    panels = [Panel(f"{name}, {m}", x[0, 0].numpy()) for name, images in shown.items() for m, x in images.items()]
    return gallery(panels, len(panels) // len(shown), window=SOFT)


if __name__ == "__main__":
    main(SCANS, __doc__)
