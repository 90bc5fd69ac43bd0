"""`invdiff reconstruct FILE`: every slice of a file of measurements to an image, all unknowns from the file itself.

What kinds of files there are, and how each becomes slices, is in `invdiff.scans`.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from invdiff.checks import nearest
from invdiff.data.geometry import Geometry
from invdiff.data.kept import Kept, kept_beside
from invdiff.data.manifest import check_against, read_manifest, sha256
from invdiff.data.outputs import Volume, check_output, write_volume
from invdiff.metrics import psnr, ssim
from invdiff.prepare import centre_crop
from invdiff.priors.checkpoints import available, load_prior
from invdiff.priors.prior import Prior
from invdiff.reconstruct_options import make_parser
from invdiff.result import Result
from invdiff.scan import Scan, Slice
from invdiff.scans import open_scan
from invdiff.settings import UsageError, parse_settings
from invdiff.solve import solve
from invdiff.solvers import METHODS

CHI2_LIMITS = (0.5, 2.0)
WRONG = 10.0  # chi2 of an image that is not one of the data
WIDTH = max(map(len, METHODS))  # of the names of methods
FLAGS = {
    "sigma_y": "--sigma",
    "num_samples": "--samples",
    "tuned": "--untuned",
    "prior": "--prior",
    "method": "--method",
}
FLAGS |= {"select": "--select", "seed": "--seed", "y": "", "op": "", "callback": ""}  # of `solve`, not of a method
AFTER = ("run", "out", "overwrite", "crop", "plane", "spacing", "manifest", "threads", "debug")  # no matter of slices
AUTO = "auto"  # takes the method that was measured to be the best


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser
) -> None:
    parser = make_parser(commands, common)
    parser.set_defaults(run=partial(run, parser))


def run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Reconstruct all slices, print scores where there is a reference, write the output whole or not at all."""
    settings = _settings(options)
    digest = check_against(read_manifest(options.manifest), options.file) if options.manifest else None
    scan = open_scan(options, parser)
    out = options.out or scan.path.with_name(f"{scan.path.stem}_{options.method}.h5")
    if "checkpoint" in settings and scan.shape[0] > 1:
        raise UsageError(
            f"a checkpoint holds the fit of one slice, and {scan.path.name} has {scan.shape[0]}; leave it out."
        )
    crop = tuple(options.crop) if options.crop else scan.crop
    geometry = _geometry(scan, options)
    if out.exists() and not options.overwrite and out.suffix:
        raise UsageError(f"{out} exists already; give another --out, or --overwrite.")
    check_output(out, geometry, [scan.path], options.overwrite, scan.shape[0])
    options.prior = options.prior or scan.prior
    prior = _prior(options) if options.method == AUTO or METHODS[options.method].prior else None
    kept = _kept(scan, options, out)
    with _told(kept, scan.shape[0]):
        images, facts = [], []
        for i in tqdm(range(scan.shape[0]), unit="slice", disable=None):
            done = _kept_slice(kept, i)
            if done is None:
                done = _slice(scan, i, prior, options, settings)
                kept.write(i, *done)
            image, found = done
            images.append(centre_crop(image, crop))
            facts += [] if found is None else [found]
        stack = torch.stack(images)
        digest = digest or (sha256(scan.path) if scan.path.is_file() else "a folder")
        record = _record(scan, options, facts) | {"source_sha256": digest}
        if crop is not None and stack.shape[-2:] != crop:
            record["notes"] = f"{record['notes']}; cropped to {tuple(stack.shape[-2:])}, not {crop}".lstrip("; ")
        if repaired := sum(f["repaired"] for f in facts):
            record["notes"] = f"{record['notes']}; {repaired} points of k-space repaired".lstrip("; ")
        volume = Volume(stack, geometry, scan.header, record, (scan.path,), str(record.get("units", "")))
        written = write_volume(out, volume, overwrite=options.overwrite)
    kept.remove()
    print(f"wrote {written[0]}" + (f" and {len(written) - 1} more" if written[1:] else "") + f": {tuple(stack.shape)}")
    return 0


def _kept(scan: Scan, options: argparse.Namespace, out: Path) -> Kept:
    """What an earlier run has finished with the same file and options; what is done with the slices may differ."""
    values = {name: value for name, value in vars(options).items() if name not in AFTER}
    named = [Path(value) for value in (options.mask, options.prior) if Path(value).is_file()]
    name = f"{scan.path.stem}_{options.method}"
    return kept_beside(out, name, (torch.__version__, sorted(values.items())), [scan.path, *named])


def _kept_slice(kept: Kept, i: int) -> tuple[Tensor, dict[str, Any] | None] | None:
    found = kept.read(i)
    if found is not None:
        print(f"slice {i}: finished by an earlier run")
    return found


@contextmanager
def _told(kept: Kept, total: int) -> Iterator[None]:
    """Whatever ends the work before the output is whole, say on stderr what of it is not lost."""
    try:
        yield
    except BaseException:
        if count := kept.count():
            tqdm.write(
                f"invdiff: {count} of {total} slices are finished and kept in {kept.folder}; the same command goes on "
                "from them, also with another --out beside. Delete the folder otherwise.",
                file=sys.stderr,
            )
        raise


def _slice(
    scan: Scan, i: int, prior: Prior | None, options: argparse.Namespace, settings: dict[str, Any]
) -> tuple[Tensor, dict[str, Any] | None]:
    """The image (h, w), complex64 where the operator's is, and what is known of it, None of an empty slice."""
    item = scan.slice(i)
    if item is None:
        print(f"slice {i}: empty (all zero); written as zeros and left out of the scores")
        return torch.zeros(scan.shape[1:], dtype=torch.complex64), None
    op, y = item.op.to(options.device), item.y.to(options.device)
    common = {"sigma_y": _noise(item.sigma_y, options.sigma), "seed": options.seed + i}
    runs: dict[str, Any] = {"num_samples": options.samples, "select": options.select, "tuned": not options.untuned}
    result = solve(y, op, prior, options.method, **runs, **common, **settings)
    sigma = float("nan") if result.sigma_y is None else float(result.sigma_y.median())
    what = f"{item.sampling}, {item.repaired} points repaired" if item.repaired else item.sampling
    print(f"slice {i}: {what}, sigma {sigma:.3g}, {result.nfe} evaluations, {result.seconds:.1f} s")
    scores = _scores(result, item)
    _print_scores(result.method, scores)
    plain = scores
    if result.method != scan.baseline:
        plain = _scores(solve(y, op, None, scan.baseline, **common), item)
        _print_scores(scan.baseline, plain)
    _warn_of_repair(i, item.repaired, min(s.get("chi2", 0.0) for s in (scores, plain)))
    found = {"nfe": result.nfe, "seconds": result.seconds, "sampling": item.sampling, "status": result.status}
    return item.image(result.x).cpu(), scores | found | {"repaired": item.repaired}


def _noise(known: float | Tensor | None, told: float | None) -> float | Tensor | None:
    """The noise that the user tells, else the file's; what has no weight there has none in either case."""
    if told is None:
        return known
    return torch.where(known.isinf(), known, told) if isinstance(known, Tensor) else told


def _scores(result: Result, item: Slice) -> dict[str, float]:
    """chi2 where the noise is known, PSNR and SSIM where there is a reference that fits."""
    scores = {} if result.chi2 is None else {"chi2": float(result.chi2[0])}
    if item.reference is not None:
        image = item.image(result.x).cpu()
        h, w = item.reference.shape
        image = centre_crop(image.abs() if image.is_complex() else image, (h, w))
        if image.shape == item.reference.shape:
            pair = (item.reference, image, item.data_range)
            scores |= {"psnr": psnr(*pair), "ssim": ssim(*pair)}
    return scores


def _print_scores(name: str, scores: dict[str, float]) -> None:
    line = f"  {name:{WIDTH}} chi2 {scores['chi2']:.2f}" if "chi2" in scores else f"  {name:{WIDTH}}"
    if "psnr" in scores:
        line += f"  PSNR {scores['psnr']:.2f} dB  SSIM {scores['ssim']:.3f}"
    print(line + _explain(scores.get("chi2")), flush=True)


def _warn_of_repair(i: int, repaired: int, chi2: float) -> None:
    """Say on stderr that an image is wrong whose data were repaired. chi2: of whichever method explains them best."""
    if repaired and chi2 > WRONG:
        tqdm.write(
            f"invdiff: WARNING: slice {i} has chi2 {chi2:.0f} after --repair of {repaired} points: its image does not "
            "explain the data. Do not use it. Probably too little is left to find the coil maps from: try --maps "
            "low-resolution, or --maps stored if the file has maps; else leave out the slice.",
            file=sys.stderr,
        )


def _explain(chi2: float | None) -> str:
    if chi2 is None or CHI2_LIMITS[0] <= chi2 <= CHI2_LIMITS[1]:
        return ""
    if chi2 > CHI2_LIMITS[1]:
        return "  (above 2: the image does not explain the data to the noise; operator, stop rule, or sigma too small)"
    return "  (below 0.5: the data are fitted below the noise, or sigma is too large)"


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    if options.method not in (*METHODS, AUTO):
        raise UsageError(f"unknown method {options.method!r}.{nearest(options.method, [*METHODS, AUTO])}")
    if options.select == "misfit" and options.samples == 1:
        raise UsageError("--select misfit keeps the best of several runs, and there is one. Add --samples 4, say.")
    settings = parse_settings(options.set)
    for name in FLAGS.keys() & settings.keys():
        told = f"told by {FLAGS[name]}" if FLAGS[name] else "none"
        raise UsageError(f"--set is for options of the method; {name} is {told}.")
    return settings


def _prior(options: argparse.Namespace) -> Prior:
    if not options.prior.endswith(".safetensors") and options.prior not in available():
        raise UsageError(f"no packaged prior is called {options.prior!r}.{nearest(options.prior, available())}")
    prior = load_prior(options.prior)
    return prior.to(options.device) if isinstance(prior, torch.nn.Module) else prior


def _geometry(scan: Scan, options: argparse.Namespace) -> Geometry | None:
    """What the file says, and what the user says where it is silent."""
    found = scan.geometry
    if found is None and options.spacing is not None:
        found = Geometry(tuple(options.spacing))
    if found is not None and found.directions is None and options.plane is not None:
        found = found.facing(options.plane)
    return found


def _record(scan: Scan, options: argparse.Namespace, facts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the output says of itself; scores are means over the slices that are not empty."""
    means = {f"{name}_mean": _mean([f[name] for f in facts if name in f]) for name in ("chi2", "psnr", "ssim")}
    return scan.record() | {
        "method": options.method,
        "source_file": scan.path.name,
        "source_format": scan.format,
        "seed": options.seed,
        "samples": options.samples,
        "select": options.select,
        "prior": options.prior if facts and facts[0]["nfe"] else "",
        "sampling": facts[0]["sampling"] if facts else "",
        "status": facts[0]["status"] if facts else "",
        "seconds": sum(f["seconds"] for f in facts),
        "not_for_diagnosis": True,
        **means,
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
