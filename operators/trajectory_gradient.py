"""dy_j / dk_ja = 1/sqrt(N) sum_n (-2 pi i r_na / N_a) x_n exp(-2 pi i k_j r_n / N): the transform, differentiable in k.

The gradient in the trajectory is d more transforms, of images weighted by their coordinates r = n - N // 2. Both
directions are differentiable to every order, in the image or samples and in k, for trajectories that are learnt or
corrected. Nothing is kept between calls: where k is fixed, `NonCartesianMRI` is faster.

Source: Wang and Fessler, Efficient Approximation of Jacobian Matrices Involving a Non-Uniform Fast Fourier Transform,
2023.
"""

import math
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.nufft import Accuracy, make_nufft
from invdiff.shapes import Shape


def nufft(x: Tensor, trajectory: Tensor, accuracy: Accuracy = 1e-6) -> Tensor:
    """Samples (B, C, n) of complex images x (B, C, *N), differentiable in x and in the trajectory.

    Args:
        trajectory: (n, d) or (B, n, d), cycles per field of view.
        accuracy: a tolerance for finufft, or in 2-D "default" or "high", which build their matrix at each call.

    Raises:
        ImportError: finufft is needed and not installed.
        TypeError, ValueError: see `checked_trajectory`.

    Example:
        >>> k = torch.tensor([[0.5, -1.25]], requires_grad=True)
        >>> x = torch.ones(1, 1, 6, 5, dtype=torch.complex64)
        >>> nufft(x, k, accuracy="high").abs().sum().backward()
        >>> k.grad.shape
        torch.Size([1, 2])
    """
    return _apply(x, trajectory, _transform(x, trajectory, tuple(x.shape[2:]), accuracy), True)


def nufft_adjoint(y: Tensor, trajectory: Tensor, shape: Shape, accuracy: Accuracy = 1e-6) -> Tensor:
    """The adjoint of `nufft`: images (B, C, *N) from samples (B, C, n), differentiable in y and in the trajectory.

    Args:
        shape: N, (H, W) or (D, H, W).
        trajectory, accuracy: as for `nufft`, with its errors.
    """
    return _apply(y, trajectory, _transform(y, trajectory, shape, accuracy), False)


def _transform(data: Tensor, trajectory: Tensor, shape: Shape, accuracy: Accuracy) -> LinearOperator:
    op = make_nufft(trajectory, shape, data.shape[1], accuracy).to(data.device)
    return op.double() if data.dtype == torch.complex128 else op


class _Transform(torch.autograd.Function):
    """T x (to_samples) or T^H y, as a function of data and trajectory; `op` is T."""

    @staticmethod
    def forward(data: Tensor, trajectory: Tensor, op: LinearOperator, to_samples: bool) -> Tensor:
        return op(data) if to_samples else op.adjoint(data)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, LinearOperator, bool], output: Tensor) -> None:
        data, trajectory, ctx.op, ctx.to_samples = inputs
        ctx.save_for_backward(data, trajectory)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (data, trajectory), g = ctx.saved_tensors, grads[0]
        in_data = _apply(g, trajectory, ctx.op, not ctx.to_samples) if ctx.needs_input_grad[0] else None
        in_trajectory = None
        if ctx.needs_input_grad[1]:
            image, samples = (data, g) if ctx.to_samples else (g, data)
            in_trajectory = _in_trajectory(image, samples, trajectory, ctx.op)
        return in_data, in_trajectory, None, None


def _apply(data: Tensor, trajectory: Tensor, op: LinearOperator, to_samples: bool) -> Tensor:
    out: Tensor = _Transform.apply(data, trajectory, op, to_samples)
    return out


def _in_trajectory(image: Tensor, samples: Tensor, trajectory: Tensor, op: LinearOperator) -> Tensor:
    """Re sum_c conj(samples) T(-2 pi i r / N image), of the trajectory's shape; the same for both directions."""
    columns = []
    for axis, n in enumerate(op.shape_in[1:]):
        r = torch.arange(n, dtype=image.dtype.to_real(), device=image.device) - n // 2
        r = (r * (-2j * math.pi / n)).reshape(-1, *[1] * (len(op.shape_in) - 2 - axis))
        columns.append((samples.conj() * _apply(r * image, trajectory, op, True)).real.sum(1))
    return torch.stack(columns, -1).to(trajectory).sum_to_size(trajectory.shape)
