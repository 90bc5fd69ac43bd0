"""Network architectures, one per file, built by name from a plain dictionary."""

from typing import Any

from torch import nn

from invdiff.networks.drunet import DRUNet

NETWORKS: dict[str, type[nn.Module]] = {"drunet": DRUNet}


def build(name: str, config: dict[str, Any]) -> nn.Module:
    """The network `name` with keyword arguments `config`.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; there is {', '.join(sorted(NETWORKS))}.")
    return NETWORKS[name](**config)
