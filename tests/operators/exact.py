"""The non-uniform transform by its definition, in double precision: the oracle of the tests beside it."""

import math

import torch
from torch import Tensor


def _harmonics(k: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    """exp(-2 pi i k (r - n // 2) / n) / sqrt(n), (samples, n) for every axis."""
    out = []
    for axis, n in enumerate(shape):
        turns = k[:, axis, None].double() * (torch.arange(n, dtype=torch.float64) - n // 2) / n
        out.append(torch.polar(torch.full_like(turns, n**-0.5), -2 * math.pi * turns))
    return out


def transform(x: Tensor, k: Tensor) -> Tensor:
    """Samples (..., n) of images (..., *N) at k (n, d)."""
    harmonics = _harmonics(k, tuple(x.shape[-k.shape[-1] :]))
    terms = "ja,jb,...ab->...j" if len(harmonics) == 2 else "ja,jb,jc,...abc->...j"
    return torch.einsum(terms, *harmonics, x.to(torch.complex128))


def adjoint(y: Tensor, k: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images (..., *N) of samples (..., n)."""
    harmonics = [h.conj() for h in _harmonics(k, shape)]
    terms = "ja,jb,...j->...ab" if len(shape) == 2 else "ja,jb,jc,...j->...abc"
    return torch.einsum(terms, *harmonics, y.to(torch.complex128))


def distance(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a.to(torch.complex128) - b).norm() / b.norm())
