"""`invdiff reconstruct FILE.h5`: every slice of a fastMRI-layout file to an image, maps and noise from the file."""

import argparse
import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from invdiff.checks import nearest
from invdiff.data.coils import espirit
from invdiff.data.fastmri import KSpaceFile, open_kspace
from invdiff.data.masks import achieved_acceleration, cartesian_mask
from invdiff.data.writer import write_reconstruction
from invdiff.metrics import psnr, ssim
from invdiff.operators.mri import CartesianMRI
from invdiff.plotting import Image, magnitude
from invdiff.priors.checkpoints import available, load_prior
from invdiff.priors.prior import Prior
from invdiff.result import Result
from invdiff.solve import solve
from invdiff.solvers import METHODS

CHI2_LIMITS = (0.5, 2.0)


class UsageError(ValueError):
    """The command line asks for something that cannot be."""


@dataclass(frozen=True)
class Slice:
    """One slice ready to solve: undersampled k-space (1, coil, H, W), its operator, the reference (H, W) if any."""

    kspace: Tensor
    op: CartesianMRI
    mask: Tensor
    reference: Image | None


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser("reconstruct", parents=[common], help="reconstruct a fastMRI-layout k-space file")
    parser.add_argument("file", type=Path, help="HDF5 file with `kspace` (slices, coils, height, width)")
    parser.add_argument("--method", default="sitcom", help="see `invdiff methods` (default sitcom)")
    parser.add_argument(
        "--prior", default="brain-mri", help="packaged name or path of a .safetensors (default brain-mri)"
    )
    parser.add_argument("--acceleration", type=float, help="undersample a fully sampled file by this factor first")
    parser.add_argument("--acs", type=float, default=0.08, help="share of central lines kept (default 0.08)")
    parser.add_argument("--mask", default="random", choices=("random", "equispaced"), help="pattern of lines")
    parser.add_argument("--sigma", type=float, help="noise per real component in units of k-space (default: estimated)")
    parser.add_argument("--samples", type=int, default=1, help="independent runs per slice; their mean is written")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the method")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Reconstruct all slices, print scores where there is a reference, write the output whole or not at all."""
    settings = _settings(options)
    out = options.out or options.file.with_name(f"{options.file.stem}_{options.method}.h5")
    if out.exists() and not options.overwrite:
        raise UsageError(f"{out} exists already; give another --out, or --overwrite.")
    prior = _prior(options) if METHODS[options.method].prior else None
    file = open_kspace(options.file)
    images, results = [], []
    for i in tqdm(range(file.n_slices), unit="slice", disable=None):
        image, result = _slice(file, i, prior, options, settings)
        images.append(image)
        results += [] if result is None else [result]
    volume = np.stack(images)
    write_reconstruction(
        out, volume, _record(file, options, results), inputs=[options.file], overwrite=options.overwrite
    )
    print(f"wrote {out}: reconstruction {volume.shape} float32")
    return 0


def prepare(
    file: KSpaceFile, i: int, rate: float | None, acs: float, kind: Literal["random", "equispaced"], seed: int
) -> Slice:
    """Slice i with its mask (retrospective where `rate` is given) and ESPIRiT maps from its calibration lines alone."""
    kspace, mask = file.kspace(i), file.mask
    if rate is not None:
        if mask is not None:
            raise UsageError(f"{file.path.name} is already undersampled (it stores a mask); leave out --acceleration.")
        width = kspace.shape[-1]
        mask = cartesian_mask(width, rate, round(acs * width), kind=kind, seed=seed)
    elif mask is None:
        mask = torch.ones(kspace.shape[-1], dtype=torch.bool)
    kspace = torch.where(mask, kspace, torch.zeros_like(kspace))[None]
    maps = espirit(kspace[0], mask)[None] if kspace.shape[1] > 1 else None
    op = CartesianMRI(mask, maps, shape=(1, *kspace.shape[-2:]))
    reference = file.reference(i) if file.fully_sampled else None
    return Slice(kspace, op, mask, None if reference is None else reference.numpy())


def _slice(
    file: KSpaceFile, i: int, prior: Prior | None, options: argparse.Namespace, settings: dict[str, Any]
) -> tuple[Image, Result | None]:
    if file.status(i) == "empty":
        print(f"slice {i}: empty (all zero); written as zeros and left out of the scores")
        return np.zeros(file.shape[-2:], np.float32), None
    item = prepare(file, i, options.acceleration, options.acs, options.mask, options.seed)
    op, y = item.op.to(options.device), item.kspace.to(options.device)
    common = {"sigma_y": options.sigma, "seed": options.seed + i}
    result = solve(y, op, prior, options.method, num_samples=options.samples, **common, **settings)
    sigma = float("nan") if result.sigma_y is None else float(result.sigma_y[0])
    rate = achieved_acceleration(item.mask)
    full = " (fully sampled)" if bool(item.mask.all()) else ""
    print(f"slice {i}: {rate:.2f}x{full}, sigma {sigma:.3g}, {result.nfe} evaluations, {result.seconds:.1f} s")
    _print_scores(options.method, result, item)
    if options.method != "cg":
        _print_scores("cg", solve(y, op, None, "cg", **common), item)
    return magnitude(result.x), result


def _print_scores(name: str, result: Result, item: Slice) -> None:
    line = f"  {name:10} chi2 {float(result.chi2[0]):.2f}" if result.chi2 is not None else f"  {name:10}"
    if item.reference is not None:
        image = _cropped(magnitude(result.x), item.reference.shape)
        line += f"  PSNR {psnr(item.reference, image):.2f} dB  SSIM {ssim(item.reference, image):.3f}"
    print(line + _explain(result), flush=True)


def _cropped(image: Image, shape: tuple[int, ...]) -> Image:
    """The centre of the image; fastMRI references are smaller than the field of view."""
    top, left = ((n - m) // 2 for n, m in zip(image.shape, shape, strict=True))
    return image[top : top + shape[0], left : left + shape[1]]


def _explain(result: Result) -> str:
    if result.chi2 is None or CHI2_LIMITS[0] <= float(result.chi2[0]) <= CHI2_LIMITS[1]:
        return ""
    if float(result.chi2[0]) > CHI2_LIMITS[1]:
        return (
            "  (above 2: the image does not explain the data to the noise; coil model, stop rule, or sigma too small)"
        )
    return "  (below 0.5: the data are fitted below the noise, or sigma is too large)"


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    if options.method not in METHODS:
        raise UsageError(f"unknown method {options.method!r}.{nearest(options.method, METHODS)}")
    settings = {}
    for item in options.set:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set takes OPTION=VALUE, got {item!r}.")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
    return settings


def _prior(options: argparse.Namespace) -> Prior:
    if not options.prior.endswith(".safetensors") and options.prior not in available():
        raise UsageError(f"no packaged prior is called {options.prior!r}.{nearest(options.prior, available())}")
    prior = load_prior(options.prior)
    return prior.to(options.device) if isinstance(prior, torch.nn.Module) else prior


def _record(file: KSpaceFile, options: argparse.Namespace, results: list[Result]) -> dict[str, Any]:
    """What the output file says of itself."""
    record = {"method": options.method, "source_file": file.path.name, "seed": options.seed}
    record |= {
        "acceleration": options.acceleration or 0.0,
        "prior": options.prior if results and results[0].nfe else "",
    }
    chi2 = [float(r.chi2[0]) for r in results if r.chi2 is not None]
    record |= {"source_sha256": hashlib.sha256(file.path.read_bytes()).hexdigest()}
    return record | {"chi2_mean": float(np.mean(chi2)) if chi2 else float("nan"), "not_for_diagnosis": True}
