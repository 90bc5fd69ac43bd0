"""d(A x) = A dx: a linear map to autograd, whose backward pass is the adjoint and whose double backward is the map.

For maps whose code autograd cannot follow, or should not: in-place work on fresh memory, compiled kernels.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


class _LinearMap(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, apply: Map, transpose: Map) -> Tensor:
        return apply(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Map, Map], output: Tensor) -> None:
        _, ctx.apply_map, ctx.transpose = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return linear_map(grads[0], ctx.transpose, ctx.apply_map), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return linear_map(tangents[0], ctx.apply_map, ctx.transpose)


def linear_map(x: Tensor, apply: Map, transpose: Map) -> Tensor:
    """apply(x), differentiable to every order in both modes.

    Args:
        x: (B, ...), real or complex.
        apply, transpose: a linear map and its exact adjoint. They may work in place on what they allocate, never on
            their argument.
    """
    # Tracing ends here, as it must at a function with a jvp, and does not set in again inside it.
    run = torch.compiler.disable(_LinearMap.apply) if torch.compiler.is_compiling() else _LinearMap.apply
    out: Tensor = run(x, apply, transpose)
    return out
