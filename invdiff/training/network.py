"""config.network -> F: the network that a configuration describes, with the channels that its images need."""

from typing import Any, get_type_hints

import torch
from torch import nn

from invdiff.checks import nearest
from invdiff.networks import NETWORKS, build
from invdiff.random import mix
from invdiff.training.config import Config
from invdiff.training.typed import checked, known_keys


def architecture(config: Config) -> tuple[str, dict[str, Any]]:
    """Name and arguments, as `invdiff.networks.build` takes them.

    Raises:
        ValueError: an unknown architecture or argument, a wrong type, or channels that do not fit `data.channels`.
    """
    arguments = dict(config.network)
    name = arguments.pop("architecture", "drunet")
    if name not in NETWORKS:
        raise ValueError(f"network.architecture {name!r} is unknown.{nearest(str(name), NETWORKS)}")
    hints = get_type_hints(NETWORKS[name].__init__)
    hints.pop("return", None)
    known_keys(hints, arguments, "network.")
    arguments = {key: checked(hints[key], value, f"network.{key}") for key, value in arguments.items()}
    for key in ("in_channels", "out_channels"):
        if arguments.setdefault(key, config.n_channels) != config.n_channels:
            raise ValueError(
                f"network.{key} is {arguments[key]}, but {config.data.channels} images have {config.n_channels} "
                "network channels; leave the key out."
            )
    return name, arguments


def make_network(config: Config, seed: int = 0) -> nn.Module:
    """The network with random weights, the same for the same seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(mix(seed))
        return build(*architecture(config))


def check_network(config: Config) -> None:
    """Build the network once.

    Raises:
        ValueError: arguments that the architecture refuses.
    """
    name, _ = architecture(config)
    try:
        make_network(config)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise ValueError(f"[network] makes no {name}: {error}") from error
