"""From physical units to a prior's: where the affine map comes from, and what it does to y and sigma_y."""

import warnings

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior
from invdiff.shapes import over
from invdiff.units import Units, by_percentile, by_window, identity

FAR = 20.0  # brightness against the prior, from which on a run is worth a warning


def find_units(y: Tensor, op: Operator, prior: Prior | None, scale: str | float | Units) -> Units:
    """The affine map of each item of y.

    "auto": a prior with a physical window brings its own; one with a percentile gets the scale from
    `op.reference_image(y)` (for MRI the calibration region, never the fully sampled image); any other prior is in the
    user's units already, as are methods without a prior.

    Raises:
        ValueError: scale is not positive, or cannot be found automatically.
    """
    batch, device = len(y), y.device
    if isinstance(scale, Units):
        if scale.scale.shape != (batch,) or not bool((scale.scale > 0).all()):
            raise ValueError(f"scale: Units needs one positive scale per item ({batch},), got {scale.scale.tolist()}.")
        return scale
    if not isinstance(scale, str):
        require("scale", scale, above=0)
        one = torch.ones(batch, dtype=torch.float32, device=device)
        units = Units(one * scale, one * 0)
        _compare(y, op, prior, units)
        return units
    if scale != "auto":
        raise ValueError(f"scale must be 'auto', a positive number or a Units, got {scale!r}.")
    if prior is None:
        return identity(batch, device)
    if prior.window is not None:
        return by_window(batch, prior.window, prior.range, device)
    if prior.percentile is None:
        units = identity(batch, device)
        _compare(y, op, prior, units)
        return units
    if not isinstance(op, LinearOperator):
        raise ValueError(
            f"the intensity scale cannot be read from y behind the non-linear {op.name}. Pass scale=..., the physical "
            f"value of the {prior.percentile:g}th percentile of |x|."
        )
    return by_percentile(op.reference_image(y), prior.percentile)


def _compare(y: Tensor, op: Operator, prior: Prior | None, units: Units) -> None:
    """Warn where the data are far from the intensities that the prior knows, with the ratio."""
    if prior is None or not isinstance(op, LinearOperator):
        return
    image = units.to_prior(op.reference_image(y)).abs().flatten(1)
    known = 1.0 if prior.percentile is not None else max(abs(end) for end in prior.range)
    ratio = torch.quantile(image.float(), (prior.percentile or 99.5) / 100, dim=1) / known
    far = (ratio > FAR) | (ratio < 1 / FAR)
    if bool(far.any()):
        worst = float(ratio[far][0])
        warnings.warn(
            f"the data are {worst:.3g} times as bright as the images that the prior knows, so it will not help. "
            "Pass scale=..., or scale the data.",
            stacklevel=5,  # of the caller of solve
        )


def in_prior_units(y: Tensor, level: Tensor | None, op: Operator, units: Units) -> tuple[Tensor, Tensor | None]:
    """(y - A offset) / scale and sigma_y / scale.

    Behind a non-linear operator no offset can be taken from y; both are applied to the image inside, and the output is
    divided by the scale as y is (`Operator.affine`).
    """
    if isinstance(op, LinearOperator) and bool((units.offset != 0).any()):
        dtype = y.dtype if op.complex_in is None else op.dtype_in
        y = y - op(torch.ones((len(y), *op.shape_in), dtype=dtype, device=y.device) * over(units.offset, y[:, :1]))
    return y / over(units.scale, y), None if level is None else level / units.scale
