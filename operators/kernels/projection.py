"""y = A x and x = A^T y for the line integrals of a scan within a plane, as torch operators (`adjoint_pair`).

A torch operator takes flat arguments, hence `project` and `adjoint`, which take `Rays`.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.kernels.adjoint_pair import register
from invdiff.operators.kernels.backend import backend
from invdiff.operators.kernels.rays import Rays

OFFERED = {"joseph": ("triton", "numba", "torch"), "strip": ("numba", "torch"), "cone": ("triton", "numba", "torch")}


def project(x: Tensor, rays: Rays) -> Tensor:
    """A x, (B, H, W) float32 or float64 to (B, view, bin): means over a bin of line integrals, x per mm."""
    out: Tensor = torch.ops.invdiff.project(x, *rays)
    return out


def adjoint(y: Tensor, rays: Rays, shape: Sequence[int]) -> Tensor:
    """A^T y, (B, view, bin) to (B, *shape)."""
    out: Tensor = torch.ops.invdiff.project_adjoint(y, *rays, list(shape))
    return out


def kernels(device: torch.device, model: str) -> str:
    """Name of the kernels that run on this device."""
    return backend(device, OFFERED[model])


def module_for(x: Tensor, model: str) -> Any:
    """The module of kernels for this tensor."""
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"projectors take float32 or float64, got {x.dtype}. Convert with x.float().")
    return import_module(f"invdiff.operators.kernels.{model}_{kernels(x.device, model)}")


def _project(x: Tensor, *tables: Any) -> Tensor:
    rays = Rays(*tables)
    return module_for(x, rays.model).project(x, rays)


def _adjoint(y: Tensor, *arguments: Any) -> Tensor:
    *tables, shape = arguments
    rays = Rays(*tables)
    return module_for(y, rays.model).adjoint(y, rays, tuple(shape))


def _traced(x: Tensor, *tables: Any) -> Tensor:
    return x.new_empty(Rays(*tables).sinogram(len(x)))


register("project", "Tensor views, Tensor lines, float[] scan, int per_bin", _project, _adjoint, _traced)
