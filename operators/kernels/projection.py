"""y = A x and x = A^T y for the line integrals of a scan, as torch operators that are each other's gradient.

Known to autograd (to every order), to vmap, to tracing and hence to torch.compile; the kernels are chosen when they
run. A torch operator takes flat arguments, hence `project` and `adjoint`, which take `Rays`.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.kernels.backend import backend
from invdiff.operators.kernels.rays import Rays

OFFERED = {"joseph": ("triton", "numba", "torch"), "strip": ("numba", "torch")}


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


def _kernels(x: Tensor, rays: Rays) -> Any:
    """The module of kernels for this tensor."""
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"projectors take float32 or float64, got {x.dtype}. Convert with x.float().")
    return import_module(f"invdiff.operators.kernels.{rays.model}_{kernels(x.device, rays.model)}")


def _project(x: Tensor, *rays: Any) -> Tensor:
    found = Rays(*rays)
    return _kernels(x, found).project(x.contiguous(), found).contiguous()


def _adjoint(y: Tensor, *arguments: Any) -> Tensor:
    *rays, shape = arguments
    found = Rays(*rays)
    return _kernels(y, found).adjoint(y.contiguous(), found, tuple(shape)).contiguous()


def _traced_sinogram(x: Tensor, *rays: Any) -> Tensor:
    return x.new_empty(Rays(*rays).sinogram(len(x)))


def _traced_images(y: Tensor, *arguments: Any) -> Tensor:
    return y.new_empty(len(y), *arguments[-1])


def _kept_rays(ctx: Any) -> Rays:
    views, lines = ctx.saved_tensors
    return Rays(views, lines, ctx.scan, ctx.per_bin)


def _keep_image(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, views, lines, ctx.scan, ctx.per_bin = inputs
    ctx.shape = x.shape[1:]
    ctx.save_for_backward(views, lines)


def _project_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    rays = _kept_rays(ctx)
    return adjoint(gradient, rays, ctx.shape), *[None] * len(rays)


def _keep_rays(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, views, lines, ctx.scan, ctx.per_bin, _ = inputs
    ctx.save_for_backward(views, lines)


def _adjoint_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    rays = _kept_rays(ctx)
    return project(gradient, rays), *[None] * (len(rays) + 1)


def _vmapped(name: str) -> Callable[..., tuple[Tensor, int]]:
    """Items of vmap are items of the batch."""

    def run(info: Any, dims: tuple[int | None, ...], x: Tensor, *arguments: Any) -> tuple[Tensor, int]:
        if dims[0] is None or dims[1:3] != (None, None):  # views and lines
            raise ValueError("vmap of a projector may run over images or sinograms, not over its geometry.")
        x = x.movedim(dims[0], 0)
        out: Tensor = getattr(torch.ops.invdiff, name)(x.flatten(0, 1), *arguments)
        return out.unflatten(0, x.shape[:2]), 0

    return run


# Registered piece by piece: `torch.library.custom_op` doubles the time of a call and takes seconds for the first.
_library = torch.library.Library("invdiff", "FRAGMENT")
_RAYS = "Tensor views, Tensor lines, float[] scan, int per_bin"
for _name, _arguments, _run, _trace, _keep, _backward in (
    ("project", f"Tensor x, {_RAYS}", _project, _traced_sinogram, _keep_image, _project_backward),
    ("project_adjoint", f"Tensor y, {_RAYS}, SymInt[] shape", _adjoint, _traced_images, _keep_rays, _adjoint_backward),
):
    _library.define(f"{_name}({_arguments}) -> Tensor")
    _library.impl(_name, _run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"invdiff::{_name}", _trace, lib=_library)
    torch.library.register_autograd(f"invdiff::{_name}", _backward, setup_context=_keep, lib=_library)
    torch.library.register_vmap(f"invdiff::{_name}", _vmapped(_name), lib=_library)
