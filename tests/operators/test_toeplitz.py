"""The kernel of A^H W A against sums in double precision."""

import pytest
import torch
from torch import Tensor

from invdiff.operators import toeplitz
from invdiff.operators.toeplitz import apply_toeplitz, toeplitz_kernel
from tests.operators import exact
from tests.operators.cases import positions, random


def weights(*sizes: int) -> Tensor:
    return torch.rand(*sizes, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(24, 24), (17, 30), (5, 3), (1, 6)])
@pytest.mark.parametrize("weighted", [False, True])
def test_normal_operator_in_double_precision(shape: tuple[int, int], weighted: bool) -> None:
    k, x = positions(150, height=shape[0], width=shape[1]), random(2, 3, *shape, dtype=torch.complex128)
    w = weights(150) if weighted else None
    kernel = toeplitz_kernel(k[None], shape, None if w is None else w[None])
    wanted = exact.adjoint(exact.transform(x, k) * (1 if w is None else w), k, shape)
    assert exact.distance(apply_toeplitz(x, kernel[:, None]), wanted) < 1e-9
    single = apply_toeplitz(x.to(torch.complex64), kernel[:, None].float())
    assert exact.distance(single, wanted) < 1e-6


def test_a_window_too_narrow_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the transform's own six taps the kernel would carry their error."""
    monkeypatch.setattr(toeplitz, "TAPS", 6)
    k, x = positions(150, height=24, width=24), random(1, 1, 24, 24, dtype=torch.complex128)
    wanted = exact.adjoint(exact.transform(x, k), k, (24, 24))
    assert exact.distance(apply_toeplitz(x, toeplitz_kernel(k[None], (24, 24))[:, None]), wanted) > 1e-6


def test_samples_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    k, w = positions(2, 50, height=9, width=8), weights(2, 50)
    whole = toeplitz_kernel(k, (9, 8), w)
    monkeypatch.setattr(toeplitz, "CHUNK", 7)
    torch.testing.assert_close(toeplitz_kernel(k, (9, 8), w), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(toeplitz_kernel(k[1:], (9, 8), w[1:]), whole[1:], rtol=1e-12, atol=1e-12)
    assert whole.shape == (2, 18, 16)


def test_three_dimensions() -> None:
    pytest.importorskip("finufft")
    shape = (4, 3, 5)
    k = (torch.rand(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5) * torch.tensor(shape)
    x, w = random(1, 1, *shape, dtype=torch.complex128), weights(1, 60)
    wanted = exact.adjoint(w[0] * exact.transform(x, k), k, shape)
    assert exact.distance(apply_toeplitz(x, toeplitz_kernel(k[None], shape, w)[:, None]), wanted) < 1e-8
