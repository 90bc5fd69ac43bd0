"""Checks that users run on their own operators, priors and solvers: `check_operator`, `check_prior`, `check_solver`."""

from invdiff.testing_operator import TOLERANCES, check_operator
from invdiff.testing_prior import check_prior
from invdiff.testing_problems import PROBLEMS
from invdiff.testing_report import SolverReport
from invdiff.testing_solver import check_solver

__all__ = ["PROBLEMS", "TOLERANCES", "SolverReport", "check_operator", "check_prior", "check_solver"]
