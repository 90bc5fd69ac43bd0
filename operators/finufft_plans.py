"""y_j = 1/sqrt(N) sum_n x_n exp(-2 pi i k_j (n - c) / N) by finufft (cufinufft on CUDA), whose plans are kept.

Planning sorts the points, which takes as long as several transforms; a plan serves every call with its trajectory.

Source: Barnett, Magland and af Klinteberg, A Parallel Nonuniform Fast Fourier Transform Library Based on an
"Exponential of Semicircle" Kernel, 2019; Shih et al., cuFINUFFT, 2021.
"""

import math
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.linear_map import linear_map
from invdiff.shapes import Shape

DOUBLE_BELOW = 1e-5  # tolerances that coordinates in single precision cannot serve
TYPE_TO_IMAGE, TYPE_TO_SAMPLES = 1, 2  # finufft's names of the two directions


class FinufftNUFFT(LinearOperator):
    """Images (B, C, *N) complex to samples (B, C, n) in two or three dimensions.

    Below a tolerance of 1e-5 the transform runs in double precision whatever the data's.

    Args:
        trajectory: (G, n, d) float64, as `checked_trajectory` gives it; G is 1 or the batch.
        shape: N. channels: C. tolerance: finufft's, 1e-12 to 1e-1.

    Raises:
        ImportError: finufft is not installed.
        ValueError: a tolerance out of range.
    """

    def __init__(self, trajectory: Tensor, shape: Shape, channels: int, tolerance: float) -> None:
        super().__init__((channels, *shape), (channels, trajectory.shape[1]), complex_in=True)
        if not 1e-12 <= tolerance <= 0.1:
            raise ValueError(f"accuracy as a tolerance must lie between 1e-12 and 0.1, got {tolerance:g}.")
        self.points = 2 * math.pi * trajectory / torch.tensor(shape)  # on the CPU in double precision, wherever op is
        self.tolerance = self.error = float(tolerance)
        self.batch = len(trajectory)
        self.plans: dict[tuple[object, ...], Any] = {}
        self.factor = 1 / math.sqrt(math.prod(shape))
        place = torch.zeros((), dtype=torch.float32)  # tells device and precision, nothing else
        self.register_buffer("place", place, persistent=False)
        _library(self.device)

    def forward(self, x: Tensor) -> Tensor:
        return linear_map(x, self._sample, self._spread)

    def _adjoint(self, y: Tensor) -> Tensor:
        return linear_map(y, self._spread, self._sample)

    def _sample(self, x: Tensor) -> Tensor:
        return self._run(TYPE_TO_SAMPLES, x)

    def _spread(self, y: Tensor) -> Tensor:
        return self._run(TYPE_TO_IMAGE, y)

    def _run(self, kind: int, data: Tensor) -> Tensor:
        work = torch.complex128 if self.tolerance < DOUBLE_BELOW else data.dtype
        plans = [self._plan(kind, i, work, data.device) for i in range(self.batch)]
        out = [plans[i % self.batch].execute(_native(item.to(work))) for i, item in enumerate(data)]
        return torch.stack([torch.as_tensor(t, device=data.device) for t in out]).to(data.dtype) * self.factor

    def _plan(self, kind: int, item: int, dtype: torch.dtype, device: torch.device) -> Any:
        key = (kind, item, dtype, device)
        if key not in self.plans:
            # Left to itself the library may choose another grid for each direction, and then they are no transposes.
            options: dict[str, float] = {"upsampfac": 2.0}
            options |= {"nthreads": torch.get_num_threads()} if device.type == "cpu" else {}
            name = str(dtype).removeprefix("torch.")
            sign = -1 if kind == TYPE_TO_SAMPLES else 1
            shape, channels = self.shape_in[1:], self.shape_in[0]
            plan = _library(device).Plan(kind, shape, channels, self.tolerance, sign, dtype=name, **options)
            points = self.points[item].to(device, dtype.to_real())
            plan.setpts(*(_native(axis.contiguous()) for axis in points.unbind(-1)))
            self.plans[key] = plan
        return self.plans[key]

    def __getstate__(self) -> dict[str, Any]:
        """Plans live in the library's memory: copies and pickles make their own."""
        return self.__dict__ | {"plans": {}}


def _native(t: Tensor) -> Any:
    """What the library takes: arrays on the CPU, tensors on CUDA."""
    t = t.resolve_conj().contiguous()
    return t.numpy() if t.device.type == "cpu" else t


def _library(device: torch.device) -> Any:
    try:
        if device.type == "cuda":
            import cufinufft

            return cufinufft
        import finufft
    except ImportError as error:
        name = "cufinufft" if device.type == "cuda" else "finufft"
        raise ImportError(
            f"{name} computes this transform (3-D, or a tolerance as accuracy) and is not installed. Install it with "
            'pip install "invdiff[nufft]"'
            + (" and pip install cufinufft." if device.type == "cuda" else ', or use accuracy="high" in 2-D.')
        ) from error
    return finufft
