"""g_{theta_b}(z_b): one network's architecture with parameters of its own for every sample of a batch.

On a CPU the samples are evaluated one after the other, which costs the same and is the same to the bit as one run for
each; elsewhere in one vectorised pass.
"""

import math
from collections.abc import Sequence
from copy import copy

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap

from invdiff.networks.generator_blocks import ZeroConv2d


class Replicas:
    """`parameters`: name to (B, *shape), leaves of the gradient.

    Args:
        net: the architecture; its own parameters are not used.
        generators: one per sample, for the first parameters.
        device: of the parameters.
    """

    def __init__(self, net: nn.Module, generators: Sequence[Generator], device: torch.device) -> None:
        self.net = net.to(device)
        drawn = [draw(net, generator) for generator in generators]
        self.parameters = {
            name: torch.stack([one[name] for one in drawn]).to(device).requires_grad_() for name in drawn[0]
        }

    @classmethod
    def joined(cls, parts: "Sequence[Replicas]") -> "Replicas":
        """The networks of several, which have the same architecture, in one."""
        return parts[0]._with({n: torch.cat([part.parameters[n] for part in parts]) for n in parts[0].parameters})

    def masked(self, factors: dict[str, Tensor]) -> "Replicas":
        """The same networks with every parameter times its factor, (B, *shape); the factors get the gradient."""
        other = copy(self)
        other.parameters = {name: values.detach() * factors[name] for name, values in self.parameters.items()}
        return other

    def _with(self, parameters: dict[str, Tensor]) -> "Replicas":
        other = copy(self)
        other.parameters = {name: values.detach().requires_grad_() for name, values in parameters.items()}
        return other

    def __call__(self, z: Tensor) -> Tensor:
        """z (B, D, ...), D inputs to each sample's network; returns (B, D, channels, H, W), of the dtype of z.

        The networks compute in their own precision.
        """
        inputs = z.to(next(iter(self.parameters.values())).dtype)
        if z.device.type == "cpu":
            items = [{name: values[b] for name, values in self.parameters.items()} for b in range(len(z))]
            outputs = [functional_call(self.net, item, (inputs[b],)) for b, item in enumerate(items)]
            return torch.stack(outputs).to(z.dtype)
        out: Tensor = vmap(lambda item, own: functional_call(self.net, item, (own,)))(self.parameters, inputs)
        return out.to(z.dtype)


def draw(net: nn.Module, generator: Generator) -> dict[str, Tensor]:
    """First parameters from this generator: convolutions as torch has them, normalisations at weight 1 and bias 0."""
    drawn: dict[str, Tensor] = {}
    for prefix, module in net.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            drawn[name] = _first(module, name.rsplit(".", 1)[-1], parameter, generator)
    return {name: drawn[name] for name, _ in net.named_parameters()}


def _first(module: nn.Module, name: str, parameter: Tensor, generator: Generator) -> Tensor:
    value = torch.empty(parameter.shape, dtype=parameter.dtype)
    if isinstance(module, ZeroConv2d):
        return value.zero_()
    if isinstance(module, nn.Conv2d):
        bound = 1 / math.sqrt(module.weight[0].numel())
        return value.uniform_(-bound, bound, generator=generator)
    if isinstance(module, nn.InstanceNorm2d):
        return value.fill_(1.0 if name == "weight" else 0.0)
    raise TypeError(f"{type(module).__name__} holds parameters; only Conv2d and InstanceNorm2d can be drawn here.")
