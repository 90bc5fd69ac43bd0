"""x <- P x where P x may be an image, x - beta P x elsewhere: hybrid input-output, for phase retrieval without a prior.

P x has the measured amplitudes and the phases of x. From coarse to fine, from several starts: see
`invdiff.operators.hybrid_input_output`. Runs with other streams begin elsewhere: take several samples and select by
misfit.

Source: Fienup, Phase Retrieval Algorithms: a Comparison, Applied Optics 1982.
"""

import math

from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.operators.compose import Composition
from invdiff.operators.phase_retrieval import PhaseRetrieval
from invdiff.operators.search import Search
from invdiff.random import Noise
from invdiff.shapes import norm
from invdiff.solvers.method import Callback

REFERENCE = """@article{fienup1982phase,
  title = {Phase Retrieval Algorithms: a Comparison},
  author = {Fienup, James R.},
  journal = {Applied Optics},
  volume = {21},
  number = {15},
  pages = {2758--2769},
  year = {1982}
}"""


def hio(
    y: Tensor,
    op: Operator,
    prior: None = None,
    *,
    noise: Noise,
    callback: Callback,
    starts: int = 64,
    iterations: int = 500,
    beta: float = 0.9,
    positive: bool = True,
    is_complex: bool = False,
) -> Tensor:
    """Reconstruct amplitudes y (B, *op.shape_out); returns (B, *op.shape_in).

    Args:
        starts: on the coarsest grid; the best of them go on. iterations: on every grid.
        beta: feedback, in (0, 1].
        positive: whether a real image is nowhere below 0.
        is_complex: whether the image is complex; then the frame alone constrains it, which is often too little.
    """
    require("starts", starts, at_least=1)
    require("iterations", iterations, at_least=1)
    require("beta", beta, above=0, at_most=1)
    settings = {"starts": starts, "iterations": iterations, "beta": beta}
    x = op.first_image(y, Search(noise, is_complex, 0.0 if positive else -math.inf, settings=settings))
    assert x is not None  # `not_amplitudes` is asked before
    callback(0, 1, x=x, misfit=norm(op(x) - y))
    return x


def not_amplitudes(op: Operator) -> str | None:
    """Why there is nothing for these iterations to do behind an operator."""
    measured = op.right if isinstance(op, Composition) and op.left.pointwise else op
    return None if isinstance(measured, PhaseRetrieval) else "it is for Fourier amplitudes. Use sitcom or dcdp."
