"""Shape checks, and inner products and norms taken per sample, never across the batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

Shape = tuple[int, ...]


def check_shape(what: str, x: Tensor, shape: Sequence[int]) -> None:
    """Refuse `x` unless it is (B, *shape) with B >= 1.

    Raises:
        ValueError: names what was wanted and what came.
    """
    if x.ndim != len(shape) + 1 or tuple(x.shape[1:]) != tuple(shape) or x.shape[0] < 1:
        wanted = ", ".join(["B", *map(str, shape)])
        hint = ""
        if tuple(x.shape) == tuple(shape):
            hint = " Add the batch axis with x[None]."
        raise ValueError(f"{what} takes ({wanted}), got {tuple(x.shape)}.{hint}")


def over(v: Tensor, x: Tensor) -> Tensor:
    """Per-sample values (B,) viewed so that they broadcast over x (B, ...)."""
    return v.reshape(-1, *[1] * (x.ndim - 1))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> = sum conj(a) b per sample, (B,); complex where the arguments are."""
    return (a.conj() * b).flatten(1).sum(1)


def norm(x: Tensor) -> Tensor:
    """Euclidean norm per sample, (B,), real."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1)


def real_size(shape: Sequence[int], is_complex: bool) -> int:
    """Number of real values in one sample."""
    return int(torch.Size(shape).numel()) * (2 if is_complex else 1)
