"""Priors: what images look like, as denoisers D(x; sigma)."""

from invdiff.diffusion.precondition import EDM, Direct, Epsilon, Flow, Sample, Score, Velocity
from invdiff.diffusion.vp import Schedule
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.checkpoints import available, load_prior, save_prior
from invdiff.priors.coarse import CoarseGaussian
from invdiff.priors.deepinv_denoiser import from_deepinv
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.hybrid import HybridPrior
from invdiff.priors.local_wiener import LocalWienerPrior
from invdiff.priors.mismatch import PriorMismatch
from invdiff.priors.mixture import GaussianMixturePrior
from invdiff.priors.network import NetworkPrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.posterior import exact_posterior
from invdiff.priors.prior import Prior
from invdiff.priors.tiled import TiledPrior

__all__ = [
    "EDM",
    "AdaptedPrior",
    "CoarseGaussian",
    "Direct",
    "Epsilon",
    "Flow",
    "GaussianMixturePrior",
    "GaussianPrior",
    "HybridPrior",
    "LocalWienerPrior",
    "NetworkPrior",
    "PatchMixturePrior",
    "Prior",
    "PriorMismatch",
    "Sample",
    "Schedule",
    "Score",
    "TiledPrior",
    "Velocity",
    "available",
    "exact_posterior",
    "from_deepinv",
    "load_prior",
    "save_prior",
]
