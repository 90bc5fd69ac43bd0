"""Reconstruct a fastMRI folder with any method: one leaderboard file per volume, resumed where it stopped.

    python recipes/fastmri_reconstruct.py multicoil_val out/cg --method cg --acceleration 4 --acs 0.08
    python recipes/fastmri_reconstruct.py multicoil_val out/dds --method dds --prior brain.safetensors --shard 1/8

Validation files are undersampled with the challenge's masks (--mask fastmri-random, or fastmri-equispaced-fraction for
the brain), test files are taken as they are; slices are cropped to the reference or to the size in the header. Killed
and started again, the same command goes on after the last finished slice (OUT/.slices); other settings are refused. A
slice's noise depends on the seed, its volume's name and its number. --shard i/n does every n-th volume; run n of them
side by side. A volume that fails is named at the end; the exit status is then 1.
"""

import argparse
import contextlib
import hashlib
import io
import json
import shutil
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import invdiff
from invdiff.data.atomic import write_files
from invdiff.data.errors import DataError
from invdiff.data.folders import ending, files_under
from invdiff.data.kspace import KSpaceFile, open_kspace
from invdiff.data.manifest import check_against, read_manifest, sha256
from invdiff.data.reconstructions import read_volume
from invdiff.data.undersampling import KINDS, Undersampling
from invdiff.data.writer import write_reconstruction
from invdiff.prepare import centre_crop, prepare
from invdiff.random import mix
from invdiff.settings import parse_settings
from invdiff.solvers import METHODS


@dataclass(frozen=True)
class Job:
    """What decides a result, its hash, and the prior."""

    options: argparse.Namespace
    settings: dict[str, Any]
    digest: str
    prior: Any


def main(arguments: Sequence[str] | None = None) -> int:
    options = _arguments(arguments)
    settings, digest = _settings(options)
    prior = invdiff.load_prior(options.prior) if METHODS[options.method].prior else None
    job = Job(options, settings, digest, prior.to(options.device) if isinstance(prior, torch.nn.Module) else prior)
    first, step = map(int, options.shard.split("/"))
    files = [f for f in files_under(options.data) if ending(f) == ".h5"][first - 1 :: step]
    sums = read_manifest(options.manifest) if options.manifest else None
    faults = []
    for path in tqdm(files, unit="volume", disable=None):
        target = options.out / path.relative_to(options.data)
        try:
            if not finished(target, digest):
                if sums is not None:
                    check_against(sums, path)
                reconstruct(job, open_kspace(path), target)
        except (DataError, ValueError, RuntimeError) as error:  # one volume's fault does not end the night's work
            faults.append(f"{path}: {error}" if str(path) not in str(error) else str(error))
        except TypeError as error:  # an option that the method does not have
            raise SystemExit(str(error)) from error
    print("".join(f"FAILED {fault}\n" for fault in faults), end="", file=sys.stderr)
    print(f"{len(files) - len(faults)} of {len(files)} volumes are in {options.out}")
    return 1 if faults or not files else 0


def reconstruct(job: Job, file: KSpaceFile, target: Path) -> None:
    """All slices of a volume, then its file; the slices are forgotten once it is there."""
    partial = job.options.out / ".slices" / target.relative_to(job.options.out).with_suffix("")
    partial.mkdir(parents=True, exist_ok=True)
    paths = [partial / f"{i:04}.npy" for i in range(file.n_slices)]
    for i, path in enumerate(tqdm(paths, unit="slice", desc=file.path.name, leave=False, disable=None)):
        if not path.exists():
            stream = io.BytesIO()
            np.save(stream, solved(job, file, i).numpy())
            write_files({path: stream.getvalue()})
    target.parent.mkdir(parents=True, exist_ok=True)
    record = {"settings_sha256": job.digest, "settings": json.dumps(job.settings), "source_file": file.path.name}
    write_reconstruction(target, np.stack([np.load(path) for path in paths]), record, overwrite=True)
    shutil.rmtree(partial)


def solved(job: Job, file: KSpaceFile, i: int) -> torch.Tensor:
    """Magnitude of slice i, cropped, (h', w') float32; zeros for an empty one."""
    o = job.options
    item = prepare(file, i, Undersampling(o.mask, o.acceleration, o.acs, o.seed) if file.mask is None else None)
    if item is None:
        return centre_crop(torch.zeros(file.shape[-2:]), file.crop)
    y, op = item.y.to(o.device), item.op.to(o.device)
    own = {"num_samples": o.samples, "seed": mix(o.seed, zlib.crc32(file.path.name.encode()), i)}
    result = invdiff.solve(y, op, job.prior, o.method, progress=False, **own, **job.settings["options"])
    return centre_crop(result.x[0, 0].abs().cpu(), file.crop).contiguous()


def finished(target: Path, digest: str) -> bool:
    """Whether the volume is there, whole (its check sums are read) and made with these settings."""
    with contextlib.suppress(DataError):
        return target.exists() and read_volume(target)[1].get("settings_sha256") == digest
    return False


def _settings(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """What decides the result, and its hash; a directory made with other settings is refused."""
    names = ("method", "mask", "acceleration", "acs", "samples", "seed")
    settings = {name: getattr(options, name) for name in names} | {"options": parse_settings(options.set)}
    settings |= {"version": invdiff.__version__, "prior": options.prior if METHODS[options.method].prior else ""}
    if settings["prior"].endswith(".safetensors"):
        settings["prior_sha256"] = sha256(Path(options.prior))
    text = json.dumps(settings, sort_keys=True, default=str)
    record = options.out / "settings.json"
    if record.exists() and record.read_text() != text:
        raise SystemExit(f"{options.out} was made with other settings ({record}); name another directory.")
    options.out.mkdir(parents=True, exist_ok=True)
    write_files({record: text.encode()}, overwrite=True)
    return settings, hashlib.sha256(text.encode()).hexdigest()[:16]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of fastMRI files")
    parser.add_argument("out", type=Path, help="directory for the reconstructions")
    parser.add_argument("--method", default="cg", choices=METHODS)
    parser.add_argument("--prior", default="brain-mri", help="packaged name or .safetensors file")
    parser.add_argument("--mask", default="fastmri-random", choices=KINDS)
    parser.add_argument("--acceleration", type=float, default=4)
    parser.add_argument("--acs", type=float, default=0.08, help="share of central lines")
    parser.add_argument("--samples", type=int, default=1, help="of each slice; their mean is written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shard", default="1/1", help="i/n: every n-th volume from the i-th, i from 1")
    parser.add_argument("--manifest", type=Path, help="SHA256SUMS of the data, to refuse changed files")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the method")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
