"""A network of fixed weights: in evaluation, without gradients of its own, in single precision."""

from typing import TypeVar

import torch
from torch import Tensor, nn

P = TypeVar("P", bound="Frozen")


class Frozen(nn.Module):
    """A prior around a network that is never trained through it.

    Attributes:
        complex: whether images are complex.
    """

    complex: bool

    def train(self: P, mode: bool = True) -> P:
        """The network stays in evaluation: a prior has neither dropout nor statistics of a batch."""
        return super().train(False)

    def _check_dtype(self, x: Tensor) -> None:
        if x.is_complex() != self.complex:
            wanted = "complex" if self.complex else "real"
            raise TypeError(f"this prior takes {wanted} images, got {x.dtype}.")


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
