"""x = first image + sigma_first n: a run that begins below the prior's highest noise level, from an image that y gives.

What the levels above sigma_first would decide, the image has decided: less work where it is right about them, and the
only way where data are ambiguous and no descent from noise finds the truth (phase retrieval).

Source: Chung, Sim and Ye, Come-Closer-Diffuse-Faster, CVPR 2022, for linear operators.
"""

import math

from torch import Tensor

from invdiff.checks import require
from invdiff.diffusion.schedule import levels
from invdiff.operators.base import LinearOperator, Operator
from invdiff.operators.search import Search
from invdiff.priors.prior import Prior
from invdiff.random import Noise

BEGIN = 1.0  # of 16 CT training slices, one start each, 0.5, 1 and 2 left 4, 2 and 4 below 25 dB (dcdp, 50 levels)


def first_image(y: Tensor, op: Operator, prior: Prior, noise: Noise) -> Tensor | None:
    """An image to begin with, (B, *op.shape_in), in the prior's units; None where the operator has none.

    Behind a linear operator its rough image, else `Operator.first_image`.
    """
    if isinstance(op, LinearOperator):
        return op.reference_image(y)
    low = -math.inf if prior.complex else prior.range[0]
    return op.first_image(y, Search(noise, prior.complex, low))


def levels_from(
    sigma_first: float | None, y: Tensor, op: Operator, prior: Prior, noise: Noise, grid: str, steps: int
) -> tuple[list[float], Tensor | None]:
    """Noise levels from sigma_first down to 0, and the image to which its noise is added.

    None: `BEGIN` behind an operator that has an image of its own to begin with, else the prior's highest level, which
    hides every image.

    Raises:
        ValueError: sigma_first outside the prior's range, or an operator that has no image to begin with.
    """
    if sigma_first is not None:
        require("sigma_first", sigma_first, above=prior.sigma_min, at_most=prior.sigma_max)
    linear = isinstance(op, LinearOperator)
    image = None if linear and sigma_first is None else first_image(y, op, prior, noise)
    if image is None and sigma_first is not None:
        raise ValueError(f"{op.name} has no image for sigma_first to begin with. Leave sigma_first out.")
    highest = prior.sigma_max if image is None else min(BEGIN, prior.sigma_max)
    return levels(grid, steps, prior.sigma_min, sigma_first or highest), image
