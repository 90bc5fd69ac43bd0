"""x = sum over views of w dt (p c * h)(u(x)) / L^2: filtered backprojection, for parallel, fan and cone beams.

p are the line integrals, h the band-limited ramp (`invdiff.operators.ramp`), w dt the share of each ray in the angular
integral (`invdiff.operators.view_weights`), c = cos g the obliquity of the rays of a fan (1 for parallel beams) and L
the distance of a pixel from the source (`invdiff.operators.backprojection`). For cone beams: `fdk`.

Source: Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, equations 3.32 (parallel), 3.117 (equal
angles, a curved detector) and 3.152 (equal distances, a flat one).
Differs: views of any order and spacing; short scans with Parker's weights; nothing is done about a limited angle.
"""

from torch import Tensor
from torch.nn.functional import pad

from invdiff.operators.backprojection import backproject
from invdiff.operators.base import LinearOperator
from invdiff.operators.ct_cone_geometry import ConeGeometry
from invdiff.operators.ct_geometry import FanGeometry, Geometry
from invdiff.operators.projector import geometry_of, unweighted
from invdiff.operators.ramp import ramp_filter
from invdiff.operators.view_weights import completed, ray_weights
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import norm
from invdiff.solvers.fdk import fdk
from invdiff.solvers.method import Callback

REFERENCE = """@book{kak1988principles,
  title = {Principles of Computerized Tomographic Imaging},
  author = {Kak, Avinash C. and Slaney, Malcolm},
  publisher = {IEEE Press},
  year = {1988}
}"""


def fbp(
    y: Tensor,
    op: LinearOperator,
    prior: Prior | None = None,
    *,
    noise: Noise,
    callback: Callback,
    window: str = "ramp",
    cutoff: float = 1.0,
) -> Tensor:
    """Reconstruct line integrals y (B, 1, view, bin); returns (B, 1, H, W), mm^-1.

    Those of a cone beam are (B, 1, view, row, bin) and give (B, 1, D, H, W).

    Weights of the measurements play no part, but for bins of weight 0, which are interpolated along their view.

    Args:
        window: of the ramp filter: "ramp" (none), "shepp-logan", "cosine", "hamming", "hann"; the later the smoother.
        cutoff: share of the highest frequency that is kept, in (0, 1].

    Raises:
        ValueError: no such window, or a cutoff out of range.
    """
    geometry = geometry_of(op)
    assert geometry is not None  # `lacks_geometry` is asked before
    x = filtered_backprojection(unweighted(y, op), geometry, window, cutoff)
    callback(0, 1, x=x, misfit=norm(op(x) - y))
    return x


def filtered_backprojection(
    p: Tensor, geometry: Geometry | ConeGeometry, window: str = "ramp", cutoff: float = 1.0
) -> Tensor:
    """The image (B, 1, H, W) of line integrals p (B, 1, view, bin), without any operator; see `fbp`."""
    if isinstance(geometry, ConeGeometry):
        return fdk(p, geometry, window, cutoff)
    curved = isinstance(geometry, FanGeometry) and geometry.detector == "curved"
    weights = ray_weights(geometry) * geometry.lines()[0]
    width, scale = geometry.axis_bin_width, 1.0
    if isinstance(geometry, FanGeometry) and curved:
        width, scale = geometry.bin_width / geometry.source_to_detector, 1 / geometry.source_distance
    whole, beyond = completed(geometry)
    q = ramp_filter(pad(p * weights.to(p), beyond), width, window, cutoff, curved)
    return backproject(scale * q, whole)
