"""Pairs of torch operators: gradients, shapes and batches of a matrix and its transpose, right and wrong."""

import pytest
import torch
from torch import Tensor

from invdiff.operators.kernels.adjoint_pair import register
from tests.operators.cases import random


def apply(x: Tensor, a: Tensor) -> Tensor:
    assert x.is_contiguous()
    return (a @ x.T).T


def transpose(y: Tensor, a: Tensor, shape: tuple[int]) -> Tensor:
    assert y.is_contiguous()
    return (y @ a).view(len(y), *shape)


def traced(x: Tensor, a: Tensor) -> Tensor:
    return x.new_empty(len(x), len(a))


register("right_matrix", "Tensor a", apply, transpose, traced)
register("wrong_gradient", "Tensor a", apply, lambda y, a, shape: 1.01 * transpose(y, a, shape), traced)
register("wrong_shape", "Tensor a", apply, transpose, lambda x, a: x.new_empty(len(x), len(a) + 1))
OPS = torch.ops.invdiff
A = random(3, 4, dtype=torch.float64)


def test_each_is_the_gradient_of_the_other() -> None:
    x, y = (random(2, n, dtype=torch.float64).requires_grad_() for n in (4, 3))
    for call, at in ((lambda x: OPS.right_matrix(x, A), x), (lambda y: OPS.right_matrix_adjoint(y, A, [4]), y)):
        assert torch.autograd.gradcheck(call, at)
        assert torch.autograd.gradgradcheck(call, at)
    torch.library.opcheck(OPS.right_matrix.default, (x, A))
    torch.library.opcheck(OPS.right_matrix_adjoint.default, (y, A, [4]))


def test_tensors_are_contiguous_in_and_out() -> None:
    x, y = random(4, 2, dtype=torch.float64).T, random(3, 2, dtype=torch.float64).T
    found, images = OPS.right_matrix(x, A), OPS.right_matrix_adjoint(y, A, [2, 2])
    torch.testing.assert_close(found, x @ A.T)
    torch.testing.assert_close(images, (y @ A).view(2, 2, 2))
    assert not apply(x.contiguous(), A).is_contiguous()
    assert found.is_contiguous()
    assert images.is_contiguous()


def test_another_transpose_is_seen() -> None:
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda x: OPS.wrong_gradient(x, A), random(2, 4, dtype=torch.float64).requires_grad_())


def test_another_shape_is_seen() -> None:
    with pytest.raises(torch.testing._internal.optests.OpCheckError):
        torch.library.opcheck(OPS.wrong_shape.default, (random(2, 4, dtype=torch.float64), A))


def test_tables_take_no_items_of_vmap() -> None:
    x = random(5, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(OPS.right_matrix, in_dims=(0, None))(x, A), x @ A.T)
    with pytest.raises(ValueError, match="not over its geometry"):
        torch.func.vmap(OPS.right_matrix, in_dims=(None, 0))(x[0], A[None])
