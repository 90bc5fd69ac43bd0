"""A network of fixed weights: in evaluation, without gradients of its own, in single precision."""

import torch
from torch import nn


def frozen(net: nn.Module) -> nn.Module:
    """The network itself, set to evaluation and its weights frozen.

    Raises:
        TypeError: weights of another precision than the images that it will be called with.
    """
    others = {p.dtype for p in net.parameters()} - {torch.float32}
    if others:
        raise TypeError(
            f"the weights are {', '.join(sorted(map(str, others)))}, and priors compute in torch.float32. Pass "
            "net.float(); NetworkPrior.optimized(precision=...) makes a faster copy."
        )
    return net.eval().requires_grad_(False)
