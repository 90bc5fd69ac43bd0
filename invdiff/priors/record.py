"""prior file + images -> the same file with reference statistics, so that the prior can tell whether it knows an image.

The weights, and so their SHA-256, stay as they are.
"""

from pathlib import Path

from torch import Tensor

from invdiff.priors.checkpoints import load_prior
from invdiff.priors.container import read_content, write_content
from invdiff.priors.mismatch import reference_statistics
from invdiff.priors.reference import KEY, ReferenceStatistics


def record(path: str | Path, images: Tensor) -> ReferenceStatistics:
    """Add, or replace, the statistics in PATH.json; whole or not at all.

    Args:
        path: PATH.safetensors of a prior of ours, of any kind.
        images: see `reference_statistics`.

    Raises:
        ValueError: not such a file, or images that do not serve.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(
            f"statistics are recorded in the files of a prior, PATH.safetensors and PATH.json, got {path}."
        )
    found = reference_statistics(load_prior(path), images)
    write_content(path, {**read_content(path), KEY: found.to_dict()})
    return found
