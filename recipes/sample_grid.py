"""Draws from a prior, each beside the training slice nearest to it: what the prior knows, and whether by heart.

    python recipes/sample_grid.py brain-mri --data slices.h5 --out grid.png

`slices.h5` holds train/images and, for comparison, val/images, (N, H, W). Nearest is the slice of greatest correlation
at 48 x 48 pixels over flips and quarter turns, of magnitudes where images are complex. Held-out slices show which
correlations the likeness of all heads brings about; draws well above those are copies.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

import invdiff
from invdiff.memorisation import Nearest, nearest_slices, posed
from invdiff.plotting import Image, Panel, gallery, save_figure

PAIRS = 4  # across


def read(path: Path, part: str) -> Tensor | None:
    """`part`/images of an HDF5 file, (N, H, W), or None."""
    with h5py.File(path) as file:
        name = f"{part}/images"
        return torch.from_numpy(np.asarray(file[name])) if name in file else None


def shown(x: Tensor) -> Image:
    """Magnitude, or values from their lowest percent up, cut at the 99.5th percentile, (H, W)."""
    image = x.abs().float() if x.is_complex() else x.float() - torch.quantile(x.float(), 0.01)
    return image.clamp(min=0).clamp(max=float(torch.quantile(image, 0.995)) or 1.0).numpy()


def panels(images: Tensor, slices: Tensor, nearest: Nearest) -> list[Panel]:
    out = []
    for i, (image, index) in enumerate(zip(images, nearest.index.tolist(), strict=True)):
        out.append(Panel(f"draw {i}", shown(image[0])))
        slice_ = posed(slices[index], int(nearest.pose[i]))
        out.append(Panel("nearest", shown(slice_), f"slice {index}, correlation {float(nearest.correlation[i]):.3f}"))
    return out


def spread(values: Tensor) -> str:
    low, middle, high = torch.quantile(values, torch.tensor([0.0, 0.5, 1.0])).tolist()
    return f"median {middle:.3f}, from {low:.3f} to {high:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", help="name of a packaged prior, or its file")
    parser.add_argument("--data", type=Path, required=True, help="training slices")
    parser.add_argument("--out", type=Path, default=Path("grid.png"))
    parser.add_argument("--n", type=int, default=12)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=36)
    parser.add_argument("--method", default="2m")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    slices = read(options.data, "train")
    if slices is None:
        parser.error(f"{options.data} has no dataset train/images")
    prior = invdiff.load_prior(options.prior)
    shape = (1, options.size, options.size)
    x = invdiff.sample(prior, options.n, shape, steps=options.steps, method=options.method, seed=options.seed)
    nearest = nearest_slices(x, slices)
    print(f"correlation of {options.n} draws with the nearest of {len(slices)} slices: {spread(nearest.correlation)}")
    held_out = read(options.data, "val")
    if held_out is not None:
        known = nearest_slices(held_out[:, None].float(), slices)
        print(f"the same of {len(held_out)} held-out slices: {spread(known.correlation)}")
    title = f"{Path(options.prior).stem}: draws, each beside the nearest of {len(slices)} training slices"
    save_figure(gallery(panels(x, slices, nearest), 2 * PAIRS, title), options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
