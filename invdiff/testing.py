"""Checks that users run on their own operators and priors: `check_operator`, `check_prior`."""

from invdiff.testing_operator import TOLERANCES, check_operator
from invdiff.testing_prior import check_prior

__all__ = ["TOLERANCES", "check_operator", "check_prior"]
