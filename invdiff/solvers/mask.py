"""A mask: which parameters of a random network are kept. It can be saved, looked at, and taken to another scan."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor

from invdiff.files import write_whole
from invdiff.networks.hourglass import Hourglass
from invdiff.random import mix


@dataclass(frozen=True, repr=False, eq=False)
class Mask:
    """Parameters to keep of a network whose first ones are drawn from `seed`.

    keep: by name, bool. config: of the `Hourglass`. seed: of its parameters and its input.
    """

    keep: dict[str, Tensor]
    config: dict[str, Any]
    seed: int

    def __repr__(self) -> str:
        total = sum(k.numel() for k in self.keep.values())
        return f"Mask({self.share:.2%} of {total:,} parameters, seed {self.seed}, {self.config})"

    @property
    def share(self) -> float:
        """Kept share of all parameters."""
        return sum(int(k.sum()) for k in self.keep.values()) / sum(k.numel() for k in self.keep.values())

    def layers(self) -> dict[str, float]:
        """Kept share of every layer's parameters, by name, from input to output."""
        return {name: float(k.double().mean()) for name, k in self.keep.items()}

    def save(self, path: str | Path) -> Path:
        """Write to .safetensors, whole or not at all; returns the path.

        Raises:
            ValueError: another ending. FileNotFoundError: no such folder.
        """
        if Path(path).suffix != ".safetensors":
            raise ValueError(f"a mask is kept in a .safetensors file, got {path}. Change the ending.")
        record = {"kind": "mask", "config": json.dumps(self.config), "seed": str(self.seed)}
        tensors = {name: k.contiguous() for name, k in self.keep.items()}
        write_whole(Path(path), lambda partial: save_file(tensors, partial, record))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "Mask":
        """The inverse of `save`.

        Raises:
            ValueError: not a file of a mask, or one that does not fit the network it names.
        """
        try:
            with safe_open(str(path), "pt") as file:
                record, keep = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read as a mask: {error}. Give a file that Mask.save wrote.") from error
        if record.get("kind") != "mask":
            raise ValueError(f"{path} does not hold a mask. Give a file that Mask.save wrote.")
        mask = cls(keep, json.loads(record["config"]), int(record["seed"]))
        shapes = {name: p.shape for name, p in mask.network().named_parameters()}
        if {name: k.shape for name, k in keep.items()} != shapes or any(k.dtype != torch.bool for k in keep.values()):
            raise ValueError(f"{path} does not fit the network that it names: altered, or of another version.")
        return cls({name: keep[name] for name in shapes}, mask.config, mask.seed)

    def network(self) -> Hourglass:
        """The architecture."""
        return Hourglass(**self.config)


def convolutions(scores: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Scores of the weights of convolutions; biases and normalisations, which are few, are all kept.

    Raises:
        ValueError: a share that these few alone use up.
    """
    few = sum(v.numel() for v in scores.values() if v.ndim == 1) / sum(v.numel() for v in scores.values())
    if share <= few:
        raise ValueError(f"sparsity must be above {few:.2%}, the share of biases and normalisations; got {share:.2%}.")
    return {name: torch.full_like(v, torch.inf) if v.ndim == 1 else v for name, v in scores.items()}


def alive(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores with the largest of every layer above all others: a layer without any parameters lets no image through."""
    return {n: v.flatten().index_fill(0, v.argmax().view(1), torch.inf).view_as(v) for n, v in scores.items()}


def largest(scores: dict[str, Tensor], share: float, seed: int) -> dict[str, Tensor]:
    """The share of all entries with the largest scores, over all tensors together; ties are broken at random."""
    flat = torch.cat([v.flatten() for v in scores.values()])
    order = torch.randperm(len(flat), generator=Generator().manual_seed(mix(seed, 4)))
    best = order[flat[order].topk(max(round(share * len(flat)), 1), sorted=False).indices]
    keep = torch.zeros(len(flat), dtype=torch.bool)
    keep[best] = True
    parts = keep.split([v.numel() for v in scores.values()])
    return {name: part.view(v.shape).clone() for part, (name, v) in zip(parts, scores.items(), strict=True)}
