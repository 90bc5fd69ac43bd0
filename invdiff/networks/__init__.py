"""Network architectures, one per file, built by name from a plain dictionary."""

from typing import Any

from torch import nn

from invdiff.networks.drunet import DRUNet
from invdiff.networks.edm_unet import DhariwalUNet, SongUNet
from invdiff.networks.guided_unet import GuidedUNet
from invdiff.networks.ncsnpp import NCSNpp
from invdiff.networks.placed_unet import PlacedSongUNet

NETWORKS: dict[str, type[nn.Module]] = {
    "drunet": DRUNet,
    "dhariwal-unet": DhariwalUNet,
    "song-unet": SongUNet,
    "guided-unet": GuidedUNet,
    "ncsnpp": NCSNpp,
    "placed-song-unet": PlacedSongUNet,
}


def build(name: str, config: dict[str, Any]) -> nn.Module:
    """The network `name` with keyword arguments `config`, in single precision, in which priors compute.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; there is {', '.join(sorted(NETWORKS))}.")
    return NETWORKS[name](**config).float()


def described(net: nn.Module) -> dict[str, Any]:
    """Name and arguments of a network, as `build(name, arguments)` takes them: {"name": name, **arguments}.

    Raises:
        ValueError: the network is not one of `NETWORKS`.
    """
    for name, kind in NETWORKS.items():
        if type(net) is kind:
            return {"name": name, **vars(net)["config"]}
    raise ValueError(f"{type(net).__name__} is not one of the networks that files of ours describe.")
