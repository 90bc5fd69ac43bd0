"""r = #{l: f(x_l) < f(x)}: under the exact posterior the rank of the truth among L draws is uniform on 0, ..., L.

Everything here is a function of ranks, or of one value per simulation. A simulation is a truth x drawn from the prior,
data y of it, and L draws x_1, ..., x_L of the sampler for y; N simulations are the first axis of every tensor.

Which f decides what is seen: ranks of pixels accept a sampler that never saw y, and one with the right spread of each
pixel and no correlation between them. The likelihood of y, as a function of x, accepts neither.
"""

import math
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor


class Measure(NamedTuple):
    """A mean over simulations and its standard error."""

    value: float
    error: float


def average(values: Tensor) -> Measure:
    """Mean and standard error of independent values (N,), N at least 2."""
    return Measure(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


def root(square: Measure) -> Measure:
    """Square root of a mean square, which may come out below 0 where it is 0 up to its error."""
    low, high = (math.sqrt(max(square.value + sign * square.error, 0.0)) for sign in (-1, 1))
    return Measure(math.sqrt(max(square.value, 0.0)), (high - low) / 2)


def ranks(truth: Tensor, draws: Tensor) -> Tensor:
    """How many draws (N, L, ...) lie below the truth (N, ...), integers from 0 to L.

    Source: Talts et al., Validating Bayesian Inference Algorithms with Simulation-Based Calibration, arXiv 1804.06788,
    Algorithm 1; Modrak et al., SBC with Data-Dependent Test Quantities, arXiv 2211.02383, on what to rank.
    """
    return (draws < truth[:, None]).sum(1)


def uniformity(ranks: Tensor, draws: int, order: int = 2) -> Tensor:
    """p-value of ranks (N, ...) being uniform on 0, ..., draws, over N: Neyman's smooth test, (...).

        sum_k (sum_i q_k(r_i))^2 / N  ~  chi^2 of `order` degrees of freedom

    with q_k orthonormal polynomials of the ranks: the first sees a shift, the second a wrong spread and lost modes. Its
    terms are bounded, so that few simulations do: of uniform ranks (200000 times, 19 draws), 1.3 and 1.1 in a thousand
    have p below 0.001 with 24 and 64 simulations.

    Source: Neyman, Smooth Test for Goodness of Fit, Skandinavisk Aktuarietidskrift 20, 1937.
    """
    table = legendre(draws, order)
    sums = table[ranks].sum(0)
    statistic = sums.square().sum(-1) / len(ranks)
    return torch.special.gammaincc(torch.full_like(statistic, order / 2), statistic / 2)


def legendre(draws: int, order: int) -> Tensor:
    """Polynomials of degree 1 to `order` on 0, ..., draws, of mean 0 and variance 1, (draws + 1, order).

    Raises:
        ValueError: fewer draws than the degree.
    """
    if draws < order:
        raise ValueError(f"a test of order {order} needs at least as many draws, got {draws}.")
    t = torch.linspace(-1, 1, draws + 1, dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.stack([t**k for k in range(order + 1)], 1))
    return q[:, 1:] * math.sqrt(draws + 1)


def least(p: Tensor) -> float:
    """p-value of several tests at once: the least of them times their number (Bonferroni), at most 1."""
    return min(1.0, float(p.min()) * p.numel())


class Coverage(NamedTuple):
    """Share of truths inside intervals, per simulation (N,), and what it is under the exact posterior."""

    inside: Tensor
    expected: float


def coverage(ranks: Tensor, draws: int, level: float) -> Coverage:
    """Central intervals between order statistics of the draws; ranks (N, ...) are averaged over all but N.

    Of the draws + 1 ranks the middle ones count as inside, as many of the parity of draws + 1 as come nearest to the
    level: with 19 draws exactly 50 and 90 %.

    Raises:
        ValueError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1, got {level}.")
    cut = min(max(round((draws + 1) * (1 - level) / 2), 0), draws // 2)
    inside = ((ranks >= cut) & (ranks <= draws - cut)).double()
    return Coverage(inside.flatten(1).mean(1) if inside.ndim > 1 else inside, (draws + 1 - 2 * cut) / (draws + 1))


def differs(values: Tensor, expected: float) -> float:
    """p-value of independent values (N,) having this mean: Student's two-sided test."""
    mean, error = average(values.double())
    if error == 0:
        return 1.0 if mean == expected else 0.0
    return float(2 * stats.t.sf(abs(mean - expected) / error, len(values) - 1))


def tarp_ranks(truth: Tensor, draws: Tensor, reference: Tensor) -> Tensor:
    """How many draws (N, L, ...) lie nearer to a reference point (N, ...) than the truth does, integers (N,).

    The reference may depend on y and must not depend on the truth otherwise; one that does not depend on y accepts a
    sampler that ignores the data.

    Source: Lemos et al., Sampling-Based Accuracy Testing of Posterior Estimators for General Inference, ICML 2023,
    Algorithm 1 and Theorem 3.
    """
    near = (draws - reference[:, None]).abs().square().flatten(2).sum(2)
    return ranks((truth - reference).abs().square().flatten(1).sum(1), near)


def expected_coverage(ranks: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """TARP's curve from its ranks (N,): credibility levels and the share of truths within, (draws + 2,) each.

    The exact posterior gives the diagonal; `uniformity` of the ranks tests for it.

    Source: Lemos et al., ICML 2023, equation 11.
    """
    counts = torch.bincount(ranks, minlength=draws + 1).double().cumsum(0) / len(ranks)
    return torch.linspace(0, 1, draws + 2, dtype=torch.float64), torch.cat([counts.new_zeros(1), counts])


def tarp_gap(ranks: Tensor, draws: int) -> float:
    """Largest distance of the expected coverage from its level; of exact draws about 0.87 / sqrt(N)."""
    level, share = expected_coverage(ranks, draws)
    return float((share - level).abs().max())
