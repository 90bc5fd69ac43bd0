"""Movable keeps imaginary parts; a plain module does not."""

import pytest
import torch
from torch import nn

from invdiff.module import Movable


def filled(kind: type[nn.Module]) -> nn.Module:
    module = kind()
    module.register_buffer("gain", torch.tensor([1 + 2j], dtype=torch.complex64))
    module.register_buffer("power", torch.ones(2))
    module.register_buffer("index", torch.arange(3))
    return module


def test_dtype_is_a_precision() -> None:
    module = filled(Movable).to(torch.float64)
    assert [b.dtype for b in module.buffers()] == [torch.complex128, torch.float64, torch.int64]
    assert module.gain.imag == 2
    module.to(torch.complex64)
    assert [b.dtype for b in module.buffers()] == [torch.complex64, torch.float32, torch.int64]


def test_short_forms() -> None:
    assert filled(Movable).double().gain.dtype == torch.complex128
    assert filled(Movable).double().float().gain.dtype == torch.complex64


def test_plain_modules_lose_it() -> None:
    with pytest.warns(UserWarning, match="imaginary"):
        module = filled(nn.Module).to(torch.float64)
    assert not module.gain.is_complex()
