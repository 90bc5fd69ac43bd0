"""What `prior.check` says of many kinds of images, and whether it is right: what `dds` gains over TV and wavelets.

    python recipes/mismatch_study.py brain-mri --data FOLDER --part val --keep brain-val.pt

FOLDER holds the slices of both packaged priors, mri_brain_train.h5 and ct_train.h5 (train/images and val/images), and
photographs, natural/BSD68/*.png and natural/Set12/*.png. `--part train`, to choose thresholds on: training slices and
BSD68; `--part val`: held-out slices and Set12. 48 images of a kind are read, 16 of them checked, and some reconstructed
from 4x Cartesian k-space, noise 0.01, by `dds` with its defaults; its gain is over the better of `tv` and `wavelet`, of
magnitudes for a complex prior. Those have a smooth synthetic phase. --keep lets a run that was stopped go on.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from held_out import TRAININGS, part_of, training
from skimage.io import imread
from torch import Tensor

import invdiff
from invdiff.data.coils import simulate_maps
from invdiff.data.masks import cartesian_mask
from invdiff.demo import simulate
from invdiff.operators import CartesianMRI, RealToComplex
from invdiff.operators.base import LinearOperator
from invdiff.priors import Prior
from invdiff.priors.mismatch import Report, check
from invdiff.random import streams
from invdiff.shapes import norm
from invdiff.training.augment import smooth_phase
from invdiff.training.draws import Draws
from invdiff.training.slices import spread
from invdiff.training.validate import HELD_OUT, prepared

SETS = {"brain-mri": "mri_brain_train.h5", "ct": "ct_train.h5"}
PHOTOGRAPHS = {"train": "BSD68", "val": "Set12"}
SIZE, SIGMA, COUNT, CHECKED = 128, 0.01, 48, 16


def slices(name: str, folder: Path, part: str) -> Tensor:
    """Magnitudes, or attenuation with the window's end at 1, (N, 1, S, S)."""
    config = training(TRAININGS / f"{name}.toml", folder / SETS[name])
    data, augment = replace(config.data, channels="real"), replace(config.augment, phase=False)
    config = replace(config, data=data, augment=augment)
    x = prepared(spread(part_of(config, part), COUNT), config, HELD_OUT)
    return (x + 1) / 2 if data.scaling == "window" else x


def photograph(path: Path) -> Tensor:
    """Its middle, (1, 1, S, S)."""
    x = torch.from_numpy(imread(path, as_gray=True)).float()
    side = min(x.shape)
    top, left = ((n - side) // 2 for n in x.shape)
    return F.interpolate(x[None, None, top : top + side, left : left + side], size=(SIZE, SIZE), mode="area")


def turned(m: Tensor, degrees: float = 30) -> Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[[c, -s, 0], [s, c, 0]]] * len(m))
    return F.grid_sample(m.flip(-1), F.affine_grid(turn, list(m.shape), align_corners=False), align_corners=False)


def dressed(m: Tensor) -> Tensor:
    return torch.polar(m, smooth_phase(Draws((HELD_OUT,), len(m)), (SIZE, SIZE)))


def kinds(prior: Prior, own: Tensor, others: dict[str, Tensor]) -> dict[str, Tensor]:
    """Images by their kind in the prior's units: magnitudes with a phase, or with 0 and 1 at the ends of its range."""
    magnitudes = {
        "own": own,
        "own, mirrored and turned by 30 degrees": turned(own),
        "own, 0.3 times as bright": 0.3 * own,
        "own, 3 times as bright": 3 * own,
        "own, blurred over 5x5": F.avg_pool2d(own, 5, 1, 2),
    }
    magnitudes |= {n: m / torch.quantile(m.flatten(1), 0.995, dim=1).view(-1, 1, 1, 1) for n, m in others.items()}
    images = {name: dressed(m) if prior.complex else 2 * m - 1 for name, m in magnitudes.items()}
    return images | {"own, noise 0.05": images["own"] + 0.05 * streams(1, len(own))[0].like(images["own"])}


def few(x: Tensor, count: int) -> Tensor:
    return x[:: max(1, len(x) // count)][:count]


def cases(prior: Prior, images: dict[str, Tensor], count: int) -> dict[str, tuple[LinearOperator, Tensor]]:
    """What is reconstructed."""
    one: LinearOperator = CartesianMRI(cartesian_mask(SIZE, 4, 10, seed=0), shape=(1, SIZE, SIZE))
    one = one if prior.complex else one @ RealToComplex((1, SIZE, SIZE))
    found = {name: (one, few(x, count)) for name, x in images.items() if not name.startswith("own,")}
    eight = CartesianMRI(cartesian_mask(SIZE, 4, 12, "random", 0), simulate_maps(8, (SIZE, SIZE), seed=1)[None])
    more = {"own, 8 coils": (eight, found["own"][1]), "packaged sample, 8 coils": (eight, simulate(0).truth)}
    return found | more if prior.complex else found


def reconstructed(prior: Prior, op: LinearOperator, truth: Tensor) -> tuple[Tensor, Tensor]:
    """By `dds`, in the prior's units, and what it gains over the better of TV and wavelets, in dB."""
    y = op.simulate(truth, SIGMA, seed=1)
    options: dict[str, Any] = {"sigma_y": SIGMA, "seed": 0, "scale": "auto" if prior.complex else 1.0}
    dds = invdiff.solve(y, op, prior, "dds", **options)
    others = [invdiff.solve(y, op, None, method, **options).x for method in ("tv", "wavelet")]
    shown = (lambda x: x.abs()) if prior.complex else (lambda x: x)
    error, *rest = (norm(shown(x) - shown(truth)) for x in (dds.x, *others))
    return dds.units.to_prior(dds.x), 20 * (torch.minimum(*rest) / error).log10()


def row(name: str, report: Report, *more: str) -> str:
    shares = [f"{report.verdicts.count(verdict)} of {len(report.verdicts)}" for verdict in ("unusual", "mismatch")]
    return "| " + " | ".join([name, *more, f"{float(report.best.median()):.1f}", *shares]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", choices=SETS)
    parser.add_argument("--data", type=Path, required=True, help="folder, see above")
    parser.add_argument("--part", choices=PHOTOGRAPHS, default="val")
    parser.add_argument("--reconstruct", type=int, default=6, help="images of a kind")
    parser.add_argument("--keep", type=Path, help="file for the reconstructions")
    options = parser.parse_args()
    prior, others = invdiff.load_prior(options.prior), {n: slices(n, options.data, options.part) for n in SETS}
    own, files = others.pop(options.prior), sorted((options.data / "natural" / PHOTOGRAPHS[options.part]).glob("*.png"))
    others[PHOTOGRAPHS[options.part]] = torch.cat([photograph(path) for path in files[:COUNT]])
    images = kinds(prior, own, others)
    print("| images | gain, dB | unusual | warned |\n|---|---:|---:|---:|")
    for name, x in images.items():
        print(row(name, check(prior, few(x, CHECKED))))
    done = torch.load(options.keep) if options.keep and options.keep.exists() else {}
    best = gains = torch.empty(0)
    print("\n| reconstructions | dds over both, dB | gain, dB | unusual | warned |\n|---|---:|---:|---:|---:|")
    for name, (op, truth) in cases(prior, images, options.reconstruct).items():
        x, gain = done[name] = done.get(name) or reconstructed(prior, op, truth)
        if options.keep:
            torch.save(done, partial := options.keep.with_suffix(".partial"))
            partial.replace(options.keep)
        report = check(prior, x)
        print(row(name, report, f"{gain.median():+.1f} ({gain.min():+.1f} to {gain.max():+.1f})"), flush=True)
        best, gains = torch.cat([best, report.best]), torch.cat([gains, gain])
    for limit in (2.2, 2.4, 2.6, 2.8, 3.0):
        wrong, right = (int((best < limit)[which].sum()) for which in (gains >= 0.5, gains < 0))
        print(f"below {limit} dB: {right} of {int((gains < 0).sum())} where dds loses, {wrong} where it gains 0.5 dB")


if __name__ == "__main__":
    main()
