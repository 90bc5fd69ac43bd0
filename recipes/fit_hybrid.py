"""A Gaussian for the high noise levels of a trained prior: fit it, measure both by level, choose the switch, write.

    python recipes/fit_hybrid.py brain-mri.safetensors --config recipes/train/brain-mri.toml --data slices.h5 \
        --out brain-mri-hybrid.safetensors

The images are those of the prior's training, full size, with its augmentation (complex: with random smooth phase). PSNR
of denoising held-out images is printed, and kept in the file, for the network, for Gaussians on a coarse grid with
several numbers of components and, from fewer images, for one on all pixels and a stationary one. The switch lies where
the Gaussian becomes the better denoiser; teleportation goes an octave below it (recipes/teleportation.py shows what
that costs). `--out` is written beside the prior's own file, which it needs.
"""

import argparse
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from held_out import part_of, training
from torch import Tensor

from invdiff.priors import CoarseGaussian, GaussianPrior, HybridPrior, Prior, load_prior
from invdiff.priors.channels import from_channels
from invdiff.priors.hybrid_file import save_hybrid
from invdiff.training.batches import Batches
from invdiff.training.config import Config
from invdiff.training.slices import Slices
from invdiff.training.validate import Held, held_images

SIGMAS = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 80.0)
RANKS = (20, 60, 120)
KEPT = 60  # components in the file
FEW = 400  # images for the references, whose fits take several times their memory

Table = dict[str, float]


def configuration(path: Path, data: Path, held_out: int) -> Config:
    """The training's, for full images only."""
    config = training(path, data, held_out)
    return replace(config, batch=replace(config.batch, images=8, crop_share=0.0, accumulate=1))


def training_images(slices: Slices, config: Config, count: int, seed: int) -> Tensor:
    """(count, 1, S, S), real or complex, in units of the prior."""
    batches = Batches(slices, config, seed)
    steps = range(1, math.ceil(count / config.batch.images) + 1)
    x = torch.cat([batches.make(step, 0, batches.choose(step)[0]).x0 for step in steps])
    return from_channels(x, config.data.channels == "complex")[:count].contiguous()


def measure(name: str, prior: Prior, held: Held) -> Table:
    table = held.psnr(prior, SIGMAS)
    print(f"{name:28}" + "".join(f"{value:8.2f}" for value in table.values()), flush=True)
    return table


def crossing(net: Table, gaussian: Table) -> float:
    """The highest level at which the Gaussian overtakes the network, linear in log sigma between those measured.

    Raises:
        ValueError: one of them is better at all levels.
    """
    gains = [(math.log(sigma), gaussian[f"{sigma:g}"] - net[f"{sigma:g}"]) for sigma in SIGMAS]
    for (a, below), (b, above) in reversed(list(pairwise(gains))):
        if below < 0 <= above:
            return math.exp(a + (b - a) * below / (below - above))
    better = "network" if gains[-1][1] < 0 else "Gaussian"
    raise ValueError(f"the curves do not cross: the {better} is the better denoiser at all of {SIGMAS}. Give --switch.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", type=Path, help="its .safetensors file")
    parser.add_argument("--config", type=Path, required=True, help="TOML file of its training")
    parser.add_argument("--data", type=Path, required=True, help="slices, with parts train and val")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2000, help="training images drawn for the fit")
    parser.add_argument("--held-out", type=int, default=48, help="validation images")
    parser.add_argument("--switch", type=float, help="noise level of the switch; by default where the curves cross")
    parser.add_argument("--teleport", type=float, help="by default half the switch")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = configuration(options.config, options.data, options.held_out)
    net = load_prior(options.prior)
    val, train = (part_of(config, part, options.seed) for part in ("val", "train"))
    held, images = held_images(val, config), training_images(train, config, options.images, options.seed)
    shape = tuple(held.images.shape[1:])
    print(f"{len(images)} training and {len(held.images)} held-out images {shape}; denoising PSNR in dB at sigma")
    print(" " * 28 + "".join(f"{sigma:8g}" for sigma in SIGMAS))
    tables = {"network": measure("network", net, held)}
    fits = {rank: CoarseGaussian.fit(images, rank) for rank in RANKS}
    references = {f"coarse, {rank} components": fit.at(shape) for rank, fit in fits.items()}
    references[f"all pixels, {KEPT} components"] = GaussianPrior.fit(images[:FEW], rank=KEPT)
    references["stationary"] = GaussianPrior.fit(images[:FEW], "stationary")
    tables |= {name: measure(name, prior, held) for name, prior in references.items()}
    switch = options.switch or crossing(tables["network"], tables[f"coarse, {KEPT} components"])
    teleport = options.teleport or switch / 2
    hybrid = HybridPrior(net, fits[KEPT], round(switch, 2), sigma_teleport=round(teleport, 2))
    tables["hybrid"] = measure("hybrid", hybrid, held)
    card = {
        "data": str(config.card.get("data", options.data.name)),
        "fit": f"{len(images)} augmented training images {shape}",
        "denoising_psnr": {name: {k: round(v, 2) for k, v in table.items()} for name, table in tables.items()},
    }
    save_hybrid(hybrid, options.prior, options.out, card)
    print(f"switch at {hybrid.sigma_switch}, teleportation to {hybrid.sigma_teleport}; wrote {options.out}")


if __name__ == "__main__":
    main()
