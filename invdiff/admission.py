"""Everything that `solve` refuses before the first step, each with its own sentence."""

import inspect

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior, fits
from invdiff.solvers import METHODS
from invdiff.solvers.method import Method, image_is_complex
from invdiff.units import Units


def admit(y: Tensor, op: Operator, prior: Prior | None, method: Method, name: str) -> None:
    """Check that y, op, prior and method agree.

    Raises:
        TypeError: not a tensor or operator, wrong dtype, real where complex is needed.
        ValueError: shapes, devices, non-finite or unsampled values, a missing prior, a method that does not fit.
    """
    agree(y, op, prior)
    reason = unfit(op, prior, method, name)
    if reason is not None:
        raise ValueError(reason)
    if prior is not None and method.prior:
        admit_prior(prior, op, y)


def unfit(op: Operator, prior: Prior | None, method: Method, name: str) -> str | None:
    """Why the method cannot be used behind op, or without a prior; None where it can."""
    if method.linear and not isinstance(op, LinearOperator):
        return f"{name} needs a linear operator and {op.name} is not. Use {_non_linear(op)}."
    reason = method.fits(op)
    if reason is not None:
        return f"{name} does not work behind {op.name}: {reason}"
    if prior is None and method.prior:
        return f"{name} needs a prior. Pass prior=invdiff.load_prior('brain-mri'), or use cg, wavelet or tv."
    return None


def agree(y: Tensor, op: Operator, prior: Prior | None) -> None:
    """Check that y may be a measurement of op, and that all are on one device; errors as for `admit`."""
    if not isinstance(op, Operator):
        raise TypeError(
            f"op must be an invdiff Operator, got {type(op).__name__}. Subclass LinearOperator for your own."
        )
    if not isinstance(y, Tensor):
        raise TypeError(f"y must be a torch tensor, got {type(y).__name__}. Use torch.as_tensor(y).")
    if not (y.is_floating_point() or y.is_complex()):
        raise TypeError(f"y must be floating point or complex, got {y.dtype}. Use y.float().")
    if y.ndim == 0 or y.shape[0] == 0:
        raise ValueError(
            f"y holds no item: its shape is {tuple(y.shape)}. The batch axis comes first and is 1 or more."
        )
    op.check_measurement(y)
    if op.complex_out is not None and y.is_complex() != op.complex_out:
        raise TypeError(f"{op.name} measures {_kind(op.complex_out)} data, got y of {y.dtype}.{_layout(y)}")
    if op.batch not in (1, len(y)):
        raise ValueError(f"{op.name} holds tensors for {op.batch} items, y has {len(y)}. Use one operator per batch.")
    _devices(y, op, prior)
    _finite(y)
    _square(y)
    _unsampled(y, op)


def needs_noise(method: Method) -> bool:
    """Whether the method cannot do without sigma_y."""
    sigma_y = inspect.signature(method.function).parameters.get("sigma_y")
    return sigma_y is not None and sigma_y.default is inspect.Parameter.empty


def _non_linear(op: Operator) -> str:
    """Names of the methods that work behind an operator that is not linear."""
    *others, last = [name for name, method in METHODS.items() if not method.linear and method.fits(op) is None]
    return f"{', '.join(others)} or {last}" if others else last


@torch.no_grad()
def recognise(y: Tensor, op: Operator, prior: Prior, units: Units) -> None:
    """Show a rough image, in the prior's units, to a prior that checks what it is given.

    The rough image is the prior's mean, corrected by what y says of it: where nothing was measured the prior has no
    reason to object.

    Raises:
        ValueError: the prior refuses the image, or y behind a non-linear operator shows none.
    """
    check = getattr(prior, "recognise", None)
    if check is None:
        return
    if not isinstance(op, LinearOperator):
        raise ValueError(f"this prior is for aligned images, and {op.name}, not linear, shows none. Use another prior.")
    zero = torch.zeros((len(y), *op.shape_in), dtype=torch.complex64 if prior.complex else torch.float32)
    mean = units.to_physical(prior(zero.to(y.device), prior.sigma_max))
    check(units.to_prior(mean + op.reference_image(y - op(mean))))


def admit_prior(prior: Prior, op: Operator, y: Tensor) -> None:
    """Check that the prior is one, and of images such as those behind op; errors as for `admit`."""
    if not callable(prior) or not all(
        hasattr(prior, a) for a in ("shape", "range", "complex", "sigma_min", "sigma_max")
    ):
        raise TypeError(f"prior must follow invdiff.priors.prior.Prior; {type(prior).__name__} does not.")
    if not fits(prior.shape, op.shape_in):
        raise ValueError(f"the prior is for images {prior.shape}, {op.name} takes {op.shape_in}. They must agree.")
    if prior.shape is None and len(op.shape_in) != 3:
        raise ValueError(
            f"the prior is for images (C, H, W), {op.name} takes {op.shape_in}. Use cg or tv, or a prior of such "
            "images, which its shape must say."
        )
    is_complex = image_is_complex(y, op, prior)
    if prior.complex != is_complex:
        hint = (
            "Put RealToComplex(shape) before the operator, as op @ RealToComplex(op.shape_in)."
            if is_complex
            else "Use a prior of real images."
            if op.complex_in is False
            else "Convert y with y.to(torch.complex64) if the image is complex, or use a prior of real images."
        )
        raise ValueError(
            f"the prior is for {_kind(prior.complex)} images, behind {op.name} the image is {_kind(is_complex)}. {hint}"
        )
    if prior.complex and op.shape_in[0] != 1 and prior.shape is None and prior.percentile is not None:
        raise ValueError(f"this prior is for one complex channel, {op.name} takes images {op.shape_in}.")


def _finite(y: Tensor) -> None:
    bad = ~torch.isfinite(y)
    if bool(bad.any()):
        index = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"y has {int(bad.sum())} values that are not finite, the first at index {index}. Repair the data, or set "
            "them to zero and clear them in the mask."
        )


def _square(y: Tensor) -> None:
    """Norms are taken by squares, which must neither vanish nor overflow."""
    limits = torch.finfo(torch.promote_types(y.dtype, torch.float32))
    low, high = limits.tiny**0.5 / limits.eps**0.5, limits.max**0.5 * limits.eps**0.5
    peak = y.abs().flatten(1).amax(1)
    bad = (peak > 0) & ((peak < low) | (peak > high))
    if bool(bad.any()):
        item = int(bad.nonzero()[0])
        raise ValueError(
            f"item {item} of y reaches {float(peak[item]):.3g}, and squares of such values are lost in {y.dtype}. "
            f"Multiply y and sigma_y by {1 / float(peak[item]):.0e}, say."
        )


def _unsampled(y: Tensor, op: Operator) -> None:
    if op.sampled is None:
        return
    outside = (y != 0) & ~op.sampled
    if bool(outside.any()):
        share = float(outside.double().mean() / (~op.sampled).expand_as(y).double().mean())
        raise ValueError(
            f"y is not zero at {100 * share:.3g} % of the entries that the mask of {op.name} says are not sampled. "
            "Multiply y by the mask, or correct the mask."
        )


def _devices(y: Tensor, op: Operator, prior: Prior | None) -> None:
    places = {"y": y.device.type}
    tensors = [("op", op.buffers())]
    if isinstance(prior, torch.nn.Module):
        tensors += [("prior", prior.parameters()), ("prior", prior.buffers())]
    for what, members in tensors:
        places.update((what, t.device.type) for t in members)
    if len(set(places.values())) > 1:
        listed = ", ".join(f"{k} on {v}" for k, v in places.items())
        raise ValueError(f"tensors are on different devices: {listed}. Move them with .to(device).")
    wide = {t.dtype for t in op.buffers() if t.dtype in (torch.float64, torch.complex128)}
    if wide and y.dtype in (torch.float32, torch.complex64):
        raise TypeError(
            f"{op.name} is in double precision and y is {y.dtype}. Use op.float(), or y of double precision."
        )
    narrow = {t.dtype for t in op.buffers() if t.dtype in (torch.float32, torch.complex64)}
    if narrow and y.dtype in (torch.float64, torch.complex128):
        raise TypeError(f"y is {y.dtype} and {op.name} is in single precision. Use y.to({_single(y)}), or op.double().")


def _single(y: Tensor) -> str:
    return "torch.complex64" if y.is_complex() else "torch.float32"


def _kind(is_complex: bool) -> str:
    return "complex" if is_complex else "real"


def _layout(y: Tensor) -> str:
    if not y.is_complex() and y.shape[-1] == 2:
        return " If its last axis holds real and imaginary parts, use torch.view_as_complex(y)."
    return ""
