"""LoDoPaB-CT in its own definition: methods on observation files with their ground truth, four scores.

PSNR and SSIM of every image against its ground truth, once with the range of that image and once with the range of the
data set (the attenuation at 3071 HU), averaged over images; see `invdiff.metrics.lodopab_scores`. The files
ground_truth_{part}_NNN.hdf5 must lie beside the observations.

    python recipes/ct_lodopab.py observation_test_000.hdf5 --samples 16 --methods fbp tv
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import invdiff
from invdiff.data.projections import ProjectionFile, open_projections
from invdiff.data.projections_lodopab import MU_MAX
from invdiff.metrics import LodopabScores, lodopab_scores
from invdiff.operators.ct import Projector
from invdiff.prepare_ct import scan_geometry
from invdiff.settings import parse_settings


def main() -> None:
    args = _arguments()
    settings = parse_settings(args.set)
    images: dict[str, list[Tensor]] = {method: [] for method in args.methods}
    truths: list[Tensor] = []
    for path in args.files:
        file = open_projections(path, "lodopab")
        op = Projector(scan_geometry(file.beam)).to(device=args.device)
        for i in tqdm(range(min(args.samples, file.n_slices)), unit="sample", desc=path.name, disable=None):
            truths.append(ground_truth(file, i))
            p, variance = file.line_integrals(i)
            assert variance is not None  # the photons of this data set are known
            y, sigma = p[None, None].to(args.device), float(variance.mean().sqrt())
            for method in args.methods:
                prior = invdiff.load_prior(args.prior) if invdiff.METHODS[method].prior else None
                own = settings if method == args.methods[0] else {}
                result = invdiff.solve(y, op, prior, method, sigma_y=sigma, seed=i, **own)
                images[method].append(result.x[0, 0].cpu())
    print(f"{len(truths)} samples" + "".join(f"{name:>12}" for name in LodopabScores._fields))
    for method, found in images.items():
        scores = lodopab_scores(torch.stack(truths), torch.stack(found), MU_MAX)
        print(f"{method:10}" + "".join(f"{score:12.4f}" for score in scores))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="observation_*.hdf5")
    parser.add_argument("--samples", type=int, default=128, help="of each file (default all)")
    parser.add_argument("--methods", nargs="+", default=["fbp", "tv"])
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="of the first method")
    parser.add_argument("--prior", default="ct")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def ground_truth(file: ProjectionFile, i: int) -> Tensor:
    truth = file.reference(i)
    if truth is None:
        raise SystemExit(f"{file.path}: no {file.path.name.replace('observation', 'ground_truth')} lies beside it.")
    return truth


if __name__ == "__main__":
    main()
