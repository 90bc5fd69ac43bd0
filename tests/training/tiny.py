"""A tiny training: discs of 32 x 32 pixels, a network of a few thousand weights, 16 x 16 images."""

from pathlib import Path

import h5py
import numpy as np

from invdiff.training.config import Averages, Batch, Config, Optimizer, Validation

NETWORK = {"architecture": "drunet", "widths": [4, 8], "blocks": 1, "stem": 2, "embedding": 8}
TINY = Config(
    name="tiny",
    domain="discs",
    network=NETWORK,
    batch=Batch(images=4, size=16, crop=8),
    optimizer=Optimizer(warmup=2, lr=3e-3, cooldown=0.5, precision="fp32"),
    averages=Averages(every=2, keep=8),
    validation=Validation(images=6, sigmas=(0.1, 0.4), fit=0),
    card={"data": "discs", "data_licence": "none needed"},
)


def discs(count: int, seed: int = 0) -> np.ndarray:
    """(count, 32, 32) uint8."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    images = [
        200 * ((y - generator.uniform(10, 22)) ** 2 + (x - generator.uniform(10, 22)) ** 2 < generator.uniform(20, 80))
        for _ in range(count)
    ]
    return np.stack(images).astype(np.uint8)


def write(path: Path, **datasets: object) -> Path:
    """An HDF5 file; a double underscore in a name stands for a group."""
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values
    return path
