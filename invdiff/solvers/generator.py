"""g(theta_0; z): the hour-glass that a seed stands for, at its first parameters and with its input."""

from torch import Generator, Tensor

from invdiff.checks import require
from invdiff.networks.generator_blocks import SMALLEST, scales
from invdiff.networks.hourglass import Hourglass
from invdiff.operators.base import Operator
from invdiff.random import Noise, mix
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.untrained import Problem, fixed_noise, not_planar

LATENT = 32
CHANNELS = 16  # at full resolution
FACTORS = (1, 2, 4, 8, 8, 8)


def hourglass(out: int, op: Operator, channels: int = CHANNELS) -> Hourglass:
    """The generator, as deep as the size of the image allows; `channels` at its finest scale.

    Raises:
        ValueError: images that are no (C, H, W), or too small; fewer than one channel.
    """
    require("channels", channels, at_least=1)
    reason = not_planar(op)
    if reason is not None:
        raise ValueError(f"no mask can be made behind {op.name}: {reason}")
    height, width = op.shape_in[1:]
    depth = scales(height, width, len(FACTORS))
    return Hourglass(LATENT, out, tuple(channels * factor for factor in FACTORS[:depth]))


def planted(net: Hourglass, seed: int, y: Tensor, op: Operator) -> tuple[Replicas, Tensor]:
    """The network and the input that a seed stands for, the same for every item of y.

    The input has the size of the image, or the least that a network this deep can take: a mask found for a larger image
    makes one that `Problem.image` cuts to size.
    """
    replicas = Replicas(net, [Generator().manual_seed(mix(seed, 0)) for _ in y], y.device)
    least = SMALLEST * net.multiple
    height, width = (max(n, least) for n in op.shape_in[1:])
    return replicas, fixed_noise(y, Noise([mix(seed, 3) for _ in y], y.device), LATENT, (height, width))


def misfit(replicas: Replicas, z: Tensor, problem: Problem) -> Tensor:
    """|A g(z) - y|^2 / n, relative to the brightness of the image and to |A|."""
    output = replicas(z[:, None])[:, 0]
    return problem.energy(problem.op(problem.image(output)) - problem.y) / output[0].numel()
