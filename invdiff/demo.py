"""`invdiff demo`: a packaged brain slice, eight coils, four-fold undersampling, all families of methods compared."""

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invdiff.data.coils import espirit, simulate_maps
from invdiff.data.masks import achieved_acceleration, cartesian_mask
from invdiff.data.samples import load_sample
from invdiff.metrics import psnr, ssim
from invdiff.operators.mri import CartesianMRI
from invdiff.plotting import Panel, compare, magnitude, save_figure
from invdiff.plotting.figure import check_figure
from invdiff.priors.checkpoints import load_prior
from invdiff.priors.prior import Prior
from invdiff.result import Result
from invdiff.solve import solve

METHODS = ("adjoint", "cg", "tv", "wavelet", "dds", "sitcom")
SAMPLES = {"dds": 4}  # their mean is the image; the others give one
SIGMA = 0.01  # noise per real component; the image has maximum 1
COILS, ACS = 8, 12  # receive coils, calibration lines
PHASE = 0.6 * math.pi  # radians, about half of which the phase reaches to either side
EPILOG = """examples:
  invdiff demo
  invdiff demo --seed 1 --out figure.png
"""


@dataclass(frozen=True)
class Scan:
    """A simulated scan: k-space (1, coil, H, W), mask (W,), and the image it came from, (1, 1, H, W)."""

    kspace: Tensor
    mask: Tensor
    truth: Tensor


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "demo",
        parents=[common],
        help="reconstruct a packaged slice from 4x undersampled multi-coil k-space",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the table and write the figure."""
    out = options.out or Path("invdiff-demo.png")
    check_figure(out)
    scan = simulate(options.seed)
    prior = load_prior("brain-mri")
    if isinstance(prior, torch.nn.Module):
        prior.to(options.device)
    begin = time.perf_counter()
    op = operator(scan).to(options.device)
    print(
        f"brain slice {tuple(scan.truth.shape[-2:])}, {COILS} coils, {achieved_acceleration(scan.mask):.2f}x, "
        f"noise {SIGMA}; coil maps from the calibration lines in {time.perf_counter() - begin:.1f} s"
    )
    print(f"{'method':10}{'PSNR dB':>9}{'SSIM':>8}{'chi2':>8}{'NFE':>6}{'seconds':>9}")
    panels = []
    for method in METHODS:
        result = reconstruct(scan, op, prior, method, options.seed)
        image = magnitude(result.x)
        scores = score(image, scan)
        print(row(method, scores, result), flush=True)
        samples = result.samples.shape[1]
        label = method if samples == 1 else f"{method}, mean of {samples}"
        panels.append(Panel(label, image, f"PSNR {scores[0]:.1f} dB, SSIM {scores[1]:.3f}"))
    title = f"{achieved_acceleration(scan.mask):.1f}x undersampled MRI, {COILS} coils, invdiff demo"
    save_figure(compare(magnitude(scan.truth), panels, scan.mask.numpy(), title), out)
    print(f"NFE is denoiser evaluations per sample; dds is the mean of {SAMPLES['dds']} samples. PSNR and SSIM are of")
    print(f"magnitudes; chi2 near 1 means that the data are explained to the noise. Figure: {out}")
    return 0


def simulate(seed: int = 0) -> Scan:
    """The packaged slice with a smooth phase, seen by eight coils: random lines, 4x."""
    image = load_sample("brain").image
    height, width = image.shape
    truth = torch.polar(image, smooth_phase(height, width))[None, None]
    mask = cartesian_mask(width, 4, ACS, kind="random", seed=seed)
    scanner = CartesianMRI(mask, simulate_maps(COILS, (height, width), seed=1)[None])
    return Scan(scanner.simulate(truth, SIGMA, seed), mask, truth)


def smooth_phase(height: int, width: int, radians: float = PHASE) -> Tensor:
    """radians (x / 2 - 0.3 y + 0.6 x y) with x and y from -1 to 1: a tilted saddle, (height, width)."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float32) for n in (height, width)), indexing="ij")
    return radians * (0.5 * x - 0.3 * y + 0.6 * x * y)


def operator(scan: Scan) -> CartesianMRI:
    """What a user would build: coil maps estimated from the calibration lines of the scan itself."""
    return CartesianMRI(scan.mask, espirit(scan.kspace[0], scan.mask)[None])


def reconstruct(scan: Scan, op: CartesianMRI, prior: Prior, method: str, seed: int) -> Result:
    """One method on the scan; the noise level is estimated from its k-space."""
    y = scan.kspace.to(op.device)
    return solve(y, op, prior, method, seed=seed, num_samples=SAMPLES.get(method, 1))


def score(image: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", scan: Scan) -> tuple[float, float]:
    """PSNR in dB and SSIM of the magnitude against the truth."""
    truth = magnitude(scan.truth)
    return psnr(truth, image), ssim(truth, image)


def row(method: str, scores: tuple[float, float], result: Result) -> str:
    """One line of the table."""
    chi2 = float("nan") if result.chi2 is None else float(result.chi2[0])
    return f"{method:10}{scores[0]:9.2f}{scores[1]:8.3f}{chi2:8.2f}{result.nfe:6d}{result.seconds:9.2f}"
