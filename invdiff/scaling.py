"""From physical units to a prior's: where the affine map comes from, and what it does to y and sigma_y."""

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior
from invdiff.shapes import over
from invdiff.units import Units, by_percentile, by_window, identity


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
        one = torch.ones(batch, device=device)
        return Units(one * scale, one * 0)
    if scale != "auto":
        raise ValueError(f"scale must be 'auto', a positive number or a Units, got {scale!r}.")
    if prior is None:
        return identity(batch, device)
    if prior.window is not None:
        return by_window(batch, prior.window, prior.range, device)
    if prior.percentile is None:
        return identity(batch, device)
    if not isinstance(op, LinearOperator):
        raise ValueError(
            f"the intensity scale cannot be read from y behind the non-linear {op.name}. Pass scale=..., the physical "
            f"value of the {prior.percentile:g}th percentile of |x|."
        )
    return by_percentile(op.reference_image(y), prior.percentile)


def in_prior_units(y: Tensor, level: Tensor | None, op: Operator, units: Units) -> tuple[Tensor, Tensor | None]:
    """(y - A offset) / scale and sigma_y / scale for a linear operator.

    Behind a non-linear operator y stays as it is, and the map is applied to the image inside (`Operator.affine`).
    """
    if not isinstance(op, LinearOperator):
        return y, level
    if bool((units.offset != 0).any()):
        dtype = y.dtype if op.complex_in is None else op.dtype_in
        y = y - op(torch.ones((len(y), *op.shape_in), dtype=dtype, device=y.device) * over(units.offset, y[:, :1]))
    return y / over(units.scale, y), None if level is None else level / units.scale
