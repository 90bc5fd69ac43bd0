"""Priors: what images look like, as denoisers D(x; sigma)."""

from invdiff.priors.checkpoints import available, load_prior
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.mixture import GaussianMixturePrior
from invdiff.priors.network import NetworkPrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.posterior import exact_posterior
from invdiff.priors.prior import Prior

__all__ = [
    "GaussianMixturePrior",
    "GaussianPrior",
    "NetworkPrior",
    "PatchMixturePrior",
    "Prior",
    "available",
    "exact_posterior",
    "load_prior",
]
