"""Inverse problems in medical imaging with one diffusion prior: `invdiff.solve(y, op, prior, method="sitcom")`."""

from invdiff.monitor import Diverged
from invdiff.priors.checkpoints import load_prior
from invdiff.result import Result
from invdiff.sampling import sample
from invdiff.solve import solve
from invdiff.solvers import METHODS

__version__ = "0.1.0"
__all__ = ["METHODS", "Diverged", "Result", "__version__", "load_prior", "sample", "solve"]
