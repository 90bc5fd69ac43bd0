"""`invdiff reconstruct FILE`: every slice of a k-space file to an image; maps and noise from the file itself."""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from invdiff.checks import nearest
from invdiff.data.formats import FORMATS
from invdiff.data.geometry import PLANES, Geometry
from invdiff.data.kspace import KSpaceFile, open_kspace
from invdiff.data.manifest import check_against, read_manifest, sha256
from invdiff.data.masks import achieved_acceleration
from invdiff.data.outputs import WRITERS, Volume, check_output, write_volume
from invdiff.data.undersampling import KINDS, Undersampling
from invdiff.metrics import psnr, ssim
from invdiff.prepare import Slice, centre_crop, prepare
from invdiff.priors.checkpoints import available, load_prior
from invdiff.priors.prior import Prior
from invdiff.result import Result
from invdiff.settings import UsageError, parse_settings
from invdiff.solve import solve
from invdiff.solvers import METHODS

CHI2_LIMITS = (0.5, 2.0)


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    endings = " ".join(e for e in WRITERS if e)
    kinds = "\n".join(f"  {name:10} {kind.summary}" for name, kind in FORMATS.items())
    parser = commands.add_parser(
        "reconstruct",
        parents=[common],
        help="reconstruct a k-space file",
        description=f"Input:\n{kinds}\n\nOutput, by the ending of --out: {endings}, or a folder of DICOM files.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="k-space, told by name and content")
    parser.add_argument("--format", choices=FORMATS, help="what the file is, where name and content do not tell")
    parser.add_argument(
        "--open",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="an option of the format, such as axes=coils",
    )
    parser.add_argument("--method", default="sitcom", help="see `invdiff methods` (default sitcom)")
    parser.add_argument(
        "--prior", default="brain-mri", help="packaged name or path of a .safetensors (default brain-mri)"
    )
    parser.add_argument("--acceleration", type=float, help="undersample a fully sampled file by this factor first")
    parser.add_argument("--acs", type=float, default=0.08, help="share of central lines kept (default 0.08)")
    parser.add_argument(
        "--mask", default="random", help=f"pattern: a mask file, or {', '.join(KINDS)} (default random)"
    )
    parser.add_argument("--maps", default="espirit", choices=("espirit", "stored"), help="coil maps (default espirit)")
    parser.add_argument("--whiten", action="store_true", help="decorrelate the coils with the file's noise scan")
    parser.add_argument("--repair", action="store_true", help="take NaN in k-space as not sampled (default: refuse)")
    parser.add_argument("--sigma", type=float, help="noise per real component in units of k-space (default: estimated)")
    parser.add_argument("--samples", type=int, default=1, help="independent runs per slice; their mean is written")
    parser.add_argument("--manifest", type=Path, help="SHA256SUMS that lists the file; refuse it if its bytes changed")
    parser.add_argument(
        "--crop", type=int, nargs=2, metavar="N", help="rows and columns to write (default: the file's)"
    )
    parser.add_argument("--plane", choices=PLANES, help="orientation, where the file does not tell")
    parser.add_argument(
        "--spacing", type=float, nargs=3, metavar="MM", help="of rows, columns, slices, where the file does not tell"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the method")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Reconstruct all slices, print scores where there is a reference, write the output whole or not at all."""
    settings = _settings(options)
    digest = check_against(read_manifest(options.manifest), options.file) if options.manifest else None
    file = open_kspace(options.file, options.format, repair=options.repair, **parse_settings(options.open))
    out = options.out or file.path.with_name(f"{file.path.stem}_{options.method}.h5")
    crop = tuple(options.crop) if options.crop else _crop(file)
    geometry = _geometry(file, options)
    if out.exists() and not options.overwrite and out.suffix:
        raise UsageError(f"{out} exists already; give another --out, or --overwrite.")
    check_output(out, geometry, [file.path], options.overwrite)
    prior = _prior(options) if METHODS[options.method].prior else None
    pattern = _undersampling(options)
    images, results = [], []
    for i in tqdm(range(file.n_slices), unit="slice", disable=None):
        image, result = _slice(file, i, prior, pattern, options, settings)
        images.append(centre_crop(image, crop))
        results += [] if result is None else [result]
    stack = torch.stack(images)
    record = _record(file, options, results) | {"source_sha256": digest or sha256(file.path)}
    if crop is not None and stack.shape[-2:] != crop:
        record["notes"] = f"{record['notes']}; cropped to {tuple(stack.shape[-2:])}, not {crop}".lstrip("; ")
    volume = Volume(stack, geometry, file.facts, record, (file.path,))
    written = write_volume(out, volume, overwrite=options.overwrite)
    print(f"wrote {written[0]}" + (f" and {len(written) - 1} more" if written[1:] else "") + f": {tuple(stack.shape)}")
    return 0


def _undersampling(options: argparse.Namespace) -> Undersampling | None:
    if options.mask in KINDS and options.acceleration is None:
        return None
    try:
        return Undersampling(options.mask, options.acceleration or 1.0, options.acs, options.seed)
    except ValueError as error:
        raise UsageError(f"--mask: {error}") from error


def _slice(
    file: KSpaceFile,
    i: int,
    prior: Prior | None,
    pattern: Undersampling | None,
    options: argparse.Namespace,
    settings: dict[str, Any],
) -> tuple[Tensor, Result | None]:
    """The image (h, w) complex64."""
    if file.status(i) == "empty":
        print(f"slice {i}: empty (all zero); written as zeros and left out of the scores")
        return torch.zeros(file.shape[-2:], dtype=torch.complex64), None
    item = prepare(file, i, pattern, maps=options.maps, whiten=options.whiten)
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
    return result.x[0, 0].cpu(), result


def _print_scores(name: str, result: Result, item: Slice) -> None:
    line = f"  {name:10} chi2 {float(result.chi2[0]):.2f}" if result.chi2 is not None else f"  {name:10}"
    if item.reference is not None:
        image = centre_crop(result.x[0, 0].abs(), (item.reference.shape[0], item.reference.shape[1]))
        if image.shape == item.reference.shape:
            line += f"  PSNR {psnr(item.reference, image):.2f} dB  SSIM {ssim(item.reference, image):.3f}"
    print(line + _explain(result), flush=True)


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
    return parse_settings(options.set)


def _prior(options: argparse.Namespace) -> Prior:
    if not options.prior.endswith(".safetensors") and options.prior not in available():
        raise UsageError(f"no packaged prior is called {options.prior!r}.{nearest(options.prior, available())}")
    prior = load_prior(options.prior)
    return prior.to(options.device) if isinstance(prior, torch.nn.Module) else prior


def _geometry(file: KSpaceFile, options: argparse.Namespace) -> Geometry | None:
    """What the file says, and what the user says where it is silent."""
    found = file.geometry
    if found is None and options.spacing is not None:
        found = Geometry(tuple(options.spacing))
    if found is not None and found.directions is None and options.plane is not None:
        found = found.facing(options.plane)
    return found


def _crop(file: KSpaceFile) -> tuple[int, int] | None:
    """What the file shows; a header that should tell and is malformed is refused here, before the work."""
    return file.crop or (None if file.header is None else file.crop)


def _record(file: KSpaceFile, options: argparse.Namespace, results: list[Result]) -> dict[str, Any]:
    """What the output says of itself."""
    chi2 = [float(r.chi2[0]) for r in results if r.chi2 is not None]
    return {
        "method": options.method,
        "source_file": file.path.name,
        "source_format": file.format,
        "notes": "; ".join(file.contents.notes),
        "seed": options.seed,
        "acceleration": options.acceleration or 0.0,
        "mask": options.mask if _undersampling(options) else "as measured",
        "maps": "stored in the file" if options.maps == "stored" else "ESPIRiT of the calibration lines",
        "prior": options.prior if results and results[0].nfe else "",
        "chi2_mean": sum(chi2) / len(chi2) if chi2 else float("nan"),
        "not_for_diagnosis": True,
    }
