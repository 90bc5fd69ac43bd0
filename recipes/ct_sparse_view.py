"""Few views, a limited angle, low dose: CT slices of a test set by filtered backprojection, total variation, diffusion.

Photons are drawn for a slice at its full resolution, and images reconstructed on a grid half as fine, which misses
detail that the rays saw: MODEL_ERROR joins the noise of every ray. `--matched` draws them for the coarse image instead,
as no scanner does. The table gives PSNR (peak: 2000 HU; both images clipped to -1000..1000 HU), its deviation over
slices and the mean error in HU over the pixels of a kind with no other kind beside them: of bone, few and narrow.

    python recipes/ct_sparse_view.py --data ct_train.h5 --slices 4 --out ct_sparse_view.png
"""

import argparse
import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

import invdiff
from invdiff.data.images import open_images
from invdiff.data.line_integrals import line_integrals
from invdiff.metrics import psnr
from invdiff.operators import ParallelBeamCT, Transmission
from invdiff.plotting import save_figure
from invdiff.units import hu_to_mu, mu_to_hu

WINDOW, DEEPEST = (-1000.0, 1000.0), 8.0  # HU; line integral
MODEL_ERROR = 0.015  # of a line integral, rms: 0.012 to 0.017 on four training slices of four subjects
KINDS = {"air": (-1100.0, -900.0), "soft": (-150.0, 150.0), "bone": (200.0, 3100.0)}  # HU


class Scan(NamedTuple):
    """So many views over so many degrees, each bin with so many photons without the patient."""

    views: int
    degrees: float = 180.0
    photons: float = 1e5


SCANS = {f"{n} views": Scan(n) for n in (8, 20, 60, 120)}
SCANS |= {"90 degrees": Scan(60, 90.0), "low dose": Scan(120, 180.0, 1e4)}
METHODS: dict[str, dict[str, Any]] = {"fbp": {"window": "shepp-logan"}, "tv": {"iterations": 200}}
METHODS |= {name: {"steps": 50} for name in ("dds", "diffpir", "dc-pnp")} | {"sitcom": {"solver": "tilt", "steps": 8}}


def main() -> None:
    args = _arguments()
    prior = invdiff.load_prior(args.prior)
    scores: dict[tuple[str, str], list[tuple[float, dict[str, float]]]] = {}
    shown: dict[str, dict[str, Tensor]] = {}
    for number, (fine, pixel) in enumerate(slices(args.data, args.slices)):
        truth = mu_to_hu(avg_pool2d(fine, 2))
        for name in args.scans:
            p, sigma, op = measured(fine, pixel, SCANS[name], number, args.matched)
            for method in args.methods:
                result = invdiff.solve(p, op, prior, method, sigma_y=sigma, seed=number, **METHODS[method])
                image = mu_to_hu(result.x)
                scores.setdefault((name, method), []).append((quality(truth, image), errors(truth, image)))
                shown.setdefault(name, {"truth": truth}).setdefault(method, image)
                print(f"slice {number}, {name}, {method}: PSNR {quality(truth, image):.2f} dB", flush=True)
    print(table(scores))
    save_figure(figure(shown), args.out)
    print(f"wrote {args.out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="images in HU with a part `val` and pixel spacings")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--scans", nargs="+", default=list(SCANS), choices=SCANS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--prior", default="ct")
    parser.add_argument("--matched", action="store_true", help="draw photons for the coarse image, free of model error")
    parser.add_argument("--out", type=Path, default=Path("ct_sparse_view.png"))
    return parser.parse_args()


def slices(path: Path, count: int) -> list[tuple[Tensor, float]]:
    """Attenuation (1, 1, H, W), mm^-1, and pixel size, mm, of validation slices that light passes: no long bodies."""
    found = []
    for hu, spacing in zip(source := open_images(path, part="val"), source.spacings, strict=True):
        if spacing is None:
            raise SystemExit(f"{path} has no pixel spacings; line integrals need them.")
        mu = hu_to_mu(torch.from_numpy(hu).clamp(*WINDOW))
        if spacing[0] * float(torch.maximum(mu.sum(0).max(), mu.sum(1).max())) < DEEPEST:
            found.append((mu[None, None], spacing[0]))
    return [found[i] for i in torch.linspace(0, len(found) - 1, min(count, len(found))).round().long().tolist()]


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


def errors(truth: Tensor, image: Tensor) -> dict[str, float]:
    """Mean error of each kind of pixel, HU; NaN where a slice has less than 8 of it."""
    found = {}
    for name, (low, high) in KINDS.items():
        kind = ((truth > low) & (truth < high)).float()
        inside = -max_pool2d(-kind, 3, stride=1, padding=1) > 0
        found[name] = float((image - truth)[inside].mean()) if int(inside.sum()) >= 8 else math.nan
    return found


def table(scores: dict[tuple[str, str], list[tuple[float, dict[str, float]]]]) -> str:
    lines = [f"{'scan':12}{'method':8}{'PSNR, dB':>10}{'sd':>6}" + "".join(f"{k + ', HU':>11}" for k in KINDS)]
    for (name, method), found in scores.items():
        kinds = [[e[kind] for _, e in found if not math.isnan(e[kind])] for kind in KINDS]
        means = "".join(f"{statistics.mean(values) if values else math.nan:11.1f}" for values in kinds)
        decibels = [q for q, _ in found]
        spread = statistics.stdev(decibels) if len(found) > 1 else math.nan
        lines.append(f"{name:12}{method:8}{statistics.mean(decibels):10.2f}{spread:6.2f}{means}")
    return "\n".join(lines)


def figure(shown: dict[str, dict[str, Tensor]]) -> Figure:
    """The first slice, soft-tissue window."""
    columns = max(len(row) for row in shown.values())
    drawing = Figure(figsize=(2.2 * columns, 2.3 * len(shown)))
    FigureCanvasAgg(drawing)
    axes = drawing.subplots(len(shown), columns, squeeze=False)
    for row, (name, images) in zip(axes, shown.items(), strict=True):
        for axis, (method, image) in zip(row, images.items(), strict=False):
            axis.imshow(image[0, 0].cpu(), cmap="gray", vmin=-250, vmax=350)
            axis.set_title(f"{name}, {method}", fontsize=8)
            axis.axis("off")
    drawing.tight_layout()
    return drawing


if __name__ == "__main__":
    main()
