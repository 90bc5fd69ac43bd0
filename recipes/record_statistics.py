"""Record in a prior's file how it denoises its own images, so that `solve` can tell when an image is of another kind.

    python recipes/record_statistics.py brain-mri --data slices.h5 --prior data/weights/brain-mri.safetensors

The images are held-out slices (or, where those are few, training slices) of the configuration recipes/train/NAME.toml,
prepared as for validation. Only the JSON file changes. `--other train` counts what the prior then says of the other
part.
"""

import argparse
from pathlib import Path

from held_out import own_images

from invdiff.priors.checkpoints import load_prior
from invdiff.priors.mismatch import check
from invdiff.priors.record import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of a configuration in recipes/train")
    parser.add_argument("--data", type=Path, required=True, help="images, as for `invdiff train`")
    parser.add_argument("--prior", type=Path, required=True, help="PATH.safetensors")
    parser.add_argument("--part", choices=("val", "train"), default="val")
    parser.add_argument("--count", type=int, default=100, help="images, at most")
    parser.add_argument("--other", choices=("val", "train"), help="then check images of this part")
    options = parser.parse_args()
    print(record(options.prior, own_images(options.name, options.data, options.count, options.part)))
    if options.other:
        prior, images = load_prior(options.prior), own_images(options.name, options.data, options.count, options.other)
        verdicts = [verdict for x in images for verdict in check(prior, x[None]).verdicts]
        print({verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))})


if __name__ == "__main__":
    main()
