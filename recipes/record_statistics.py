"""Record in a prior's file how it denoises its own images, so that `solve` can tell when an image is of another kind.

    python recipes/record_statistics.py brain-mri --data slices.h5 --prior data/weights/brain-mri.safetensors

The images are held-out slices (or, where those are few, training slices) of the configuration recipes/train/NAME.toml,
prepared as for validation. Only the JSON file changes. `--other train` counts what the prior then says of the other
part.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from invdiff.priors.checkpoints import load_prior
from invdiff.priors.mismatch import check
from invdiff.priors.record import record
from invdiff.training.config import Config
from invdiff.training.slices import Slices
from invdiff.training.split import open_split
from invdiff.training.toml import read_config
from invdiff.training.validate import held_images

CONFIGS = Path(__file__).parent / "train"
MEMORY = 4 * 2**30


def images(config: Config, part: str, count: int) -> torch.Tensor:
    """Clean images of one part, in the prior's units."""
    split = open_split(config, seed=0)
    chosen = split.val if part == "val" else split.train
    wanted = replace(config, validation=replace(config.validation, images=count))
    return held_images(Slices(chosen, config.data, MEMORY), wanted).images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of a configuration in recipes/train")
    parser.add_argument("--data", required=True, help="images, as for `invdiff train`")
    parser.add_argument("--prior", type=Path, required=True, help="PATH.safetensors")
    parser.add_argument("--part", choices=("val", "train"), default="val")
    parser.add_argument("--count", type=int, default=100, help="images, at most")
    parser.add_argument("--other", choices=("val", "train"), help="then check images of this part")
    options = parser.parse_args()
    config = read_config(CONFIGS / f"{options.name}.toml")
    config = replace(config, data=replace(config.data, path=options.data))
    print(record(options.prior, images(config, options.part, options.count)))
    if options.other:
        prior = load_prior(options.prior)
        verdicts = [v for x in images(config, options.other, options.count) for v in check(prior, x[None]).verdicts]
        print({verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))})


if __name__ == "__main__":
    main()
