"""A masked hour-glass without its dead channels: a smaller dense network that makes the same image.

A channel is constant over the image where nothing that varies reaches it, or where its normalisation's weight is
masked; a normalisation takes a constant away again. It is unread where everything that leads on from it is masked. Both
kinds are dropped; what constant ones add to the last layer, which no normalisation follows, moves into its bias.
"""

from copy import copy, deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invdiff.networks.generator_blocks import normalise
from invdiff.networks.hourglass import Hourglass
from invdiff.solvers.replicas import Replicas

Keep = dict[str, Tensor]


@dataclass(frozen=True)
class Layer:
    """A convolution between two groups of channels, with the normalisations before and after it, by name."""

    conv: str
    before: str = ""
    after: str = ""


def chain(net: Hourglass) -> list[Layer]:
    """The layers from input to output; group k of channels enters layer k, and the last one is the image."""
    layers = []
    for i in range(len(net.widen)):
        layers += [Layer(f"widen.{i}.conv", after=f"widen.{i}.norm"), Layer(f"refine.{i}.0", after=f"refine.{i}.1")]
    layers += [Layer(f"up.{i}.1.0", f"up.{i}.0", f"up.{i}.1.1") for i in reversed(range(len(net.up)))]
    return [*layers, Layer("tail")]


def sides(net: Hourglass) -> dict[str, tuple[int, ...]]:
    """The group that each axis of a parameter runs over (only the first two of a convolution's weight), by name."""
    places: dict[str, tuple[int, ...]] = {}
    for k, layer in enumerate(chain(net)):
        places |= {f"{layer.conv}.weight": (k + 1, k), f"{layer.conv}.bias": (k + 1,)}
        for norm, group in ((layer.before, k), (layer.after, k + 1)):
            places |= {f"{norm}.{what}": (group,) for what in ("weight", "bias") if norm}
    return places


def compact(replicas: Replicas, keep: Keep) -> tuple[Replicas, Keep]:
    """Smaller networks with the same output for every input, and what is left of the mask.

    Args:
        replicas: of an `Hourglass`, masked or not. keep: one mask for all of them, by name, bool.

    Raises:
        ValueError: no path leads from the input to the image.
    """
    net = replicas.net
    if not isinstance(net, Hourglass):
        raise TypeError(f"compact knows the layers of Hourglass, not of {type(net).__name__}.")
    keep = {name: mine.to(replicas.parameters[name].device) for name, mine in keep.items()}
    varies, read = varying(net, keep), used(net, keep)
    alive = [v & r for v, r in zip(varies, read, strict=True)]
    alive[0], alive[-1] = torch.ones_like(alive[0]), torch.ones_like(alive[-1])
    if not all(bool(group.any()) for group in alive):
        raise ValueError("the mask leaves no path from the input to the image. Keep a larger share of the parameters.")
    theta = {name: p.detach() * keep[name] for name, p in replicas.parameters.items()}
    still = ~varies[-2] & read[-2]
    level = F.leaky_relu(theta["up.0.1.1.bias"], 0.2) * still
    theta["tail.bias"] = theta["tail.bias"] + (theta["tail.weight"][..., 0, 0] * level[:, None]).sum(-1)
    keep["tail.bias"] = keep["tail.bias"] | still.any()
    smaller = copy(replicas)
    smaller.net = _shrunk(net, [int(group.sum()) for group in alive]).to(still.device)
    smaller.parameters = {name: p.requires_grad_() for name, p in _part(theta, net, alive, 1).items()}
    return smaller, _part(keep, net, alive, 0)


def varying(net: Hourglass, keep: Keep) -> list[Tensor]:
    """Channels of every group that can differ from a constant, bool."""
    groups = [torch.ones_like(keep["widen.0.conv.weight"][0, :, 0, 0])]
    for layer in chain(net):
        reached = groups[-1] & keep[f"{layer.before}.weight"] if layer.before else groups[-1]
        varies = (_taps(keep, layer) & reached).any(1)
        groups.append(varies & keep[f"{layer.after}.weight"] if layer.after else varies)
    return groups


def used(net: Hourglass, keep: Keep) -> list[Tensor]:
    """Channels of every group that the image can depend on, through channels that vary, bool."""
    groups, varies = [torch.ones_like(keep["tail.bias"])], varying(net, keep)
    for k, layer in reversed(list(enumerate(chain(net)))):
        on = groups[0] & varies[k + 1] if layer.after else groups[0]
        read = (_taps(keep, layer) & on[:, None]).any(0)
        groups.insert(0, read & keep[f"{layer.before}.weight"] if layer.before else read)
    return groups


def _taps(keep: Keep, layer: Layer) -> Tensor:
    """Whether any tap of the kernel between two channels is kept, (out, in) bool."""
    return keep[f"{layer.conv}.weight"].flatten(2).any(2)


def _part(values: dict[str, Tensor], net: Hourglass, alive: list[Tensor], lead: int) -> dict[str, Tensor]:
    """The entries of channels that are alive; `lead` axes come first."""
    places, parts = sides(net), {}
    for name, value in values.items():
        for axis, group in enumerate(places[name]):
            value = value.index_select(lead + axis, alive[group].nonzero()[:, 0])
        parts[name] = value
    return parts


def _shrunk(net: Hourglass, sizes: list[int]) -> Hourglass:
    """The network with these numbers of channels in its groups."""
    small = deepcopy(net)
    for layer, inputs, outputs in zip(chain(net), sizes, sizes[1:], strict=False):
        old = net.get_submodule(layer.conv)
        assert isinstance(old, nn.Conv2d)
        shape = {"kernel_size": old.kernel_size, "padding": old.padding, "padding_mode": old.padding_mode}
        _replace(small, layer.conv, nn.Conv2d(inputs, outputs, **shape))  # type: ignore[arg-type]
        for norm, channels in ((layer.before, inputs), (layer.after, outputs)):
            if norm:
                _replace(small, norm, normalise(channels))
    return small


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(net.get_submodule(parent), leaf, module)
