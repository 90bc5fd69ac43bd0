"""method = argmax of the measured PSNR, among those that fit the problem and are expected to end within the budget.

    seconds = (evaluations + 2 gradients) t_evaluation + work t_work

The first factors are those of the table in `invdiff.tuned`, the second are timed here, on this machine, for images of
this size. No truth is looked at: quality is what was measured on other images behind operators of the same family.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from invdiff.admission import admit_prior, agree, needs_noise, unfit
from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.priors.prior import Prior
from invdiff.solvers import METHODS
from invdiff.tuned import Row, kind_of, packaged, work


def choose(
    y: Tensor,
    op: Operator,
    prior: Prior | None,
    sigma_y: float | Tensor | None,
    budget: float | None,
    samples: int,
    options: dict[str, Any],
) -> tuple[str, str]:
    """The name of a method, and why it is this one, for the status.

    Args:
        y, op, prior, sigma_y: as for `solve`. With a prior, methods that need none are candidates too.
        budget: seconds for all of y, or None for as long as it takes.
        samples: runs for each item of y.
        options: must be empty, since they are of one method.

    Raises:
        ValueError, TypeError: nothing was measured for such an operator or prior; no method that was fits, and why the
            best does not; none is expected to end in time.
    """
    if options:
        raise TypeError(
            f"method='auto' sets the options of what it chooses; name a method to set {', '.join(options)}."
        )
    if budget is not None:
        require("budget", budget, above=0)
    agree(y, op, prior)
    rows = _measured(op, prior)
    if prior is not None:
        admit_prior(prior, op, y)
    rows = _admitted(rows, y, op, prior, sigma_y)
    if budget is None:
        return rows[0].method, _why(rows[0], len(rows))
    expected = _expected(rows, y, op, prior, samples)
    best = next((row for row in rows if expected[row.method] <= budget), None)
    if best is None:
        fastest = min(expected, key=lambda name: expected[name])
        raise ValueError(
            f"no method is expected to end within budget={budget:g} s; {fastest} comes nearest, with about "
            f"{expected[fastest]:.2g} s. Allow more, or name a method."
        )
    return best.method, f"{_why(best, len(rows))}, expected to take {expected[best.method]:.2g} s of {budget:g} s"


def _measured(op: Operator, prior: Prior | None) -> list[Row]:
    """The rows of such a problem, the best first; refuses one that has none."""
    rows = [row for row in packaged() if row.family == op.family and row.prior in ("", kind_of(prior))]
    if not rows or (prior is not None and all(row.prior == "" for row in rows)):
        whose = f"{op.name} with this prior" if rows else op.name
        raise ValueError(
            f"method='auto' chooses by what was measured, and nothing was for {whose}. Name one that fits: "
            f"{', '.join(_known(op, prior)) or 'all of them need a prior'}."
        )
    return sorted(rows, key=lambda row: -row.score)


def _known(op: Operator, prior: Prior | None) -> list[str]:
    """Names of all methods that could be asked for."""
    return [name for name, method in METHODS.items() if unfit(op, prior, method, name) is None]


def _admitted(
    rows: list[Row], y: Tensor, op: Operator, prior: Prior | None, sigma_y: float | Tensor | None
) -> list[Row]:
    """Those whose method fits, in the same order; raises what the first says where none does."""
    blind = sigma_y is None and op.estimate_sigma(y) is None
    reasons = [unfit(op, prior, METHODS[row.method], row.method) for row in rows]
    fitting = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    fitting = [row for row in fitting if not (blind and needs_noise(METHODS[row.method]))]
    if not fitting:
        first = next((reason for reason in reasons if reason is not None), None)
        raise ValueError(first or "every method that was measured needs sigma_y. Pass sigma_y=...")
    return fitting


def _expected(rows: list[Row], y: Tensor, op: Operator, prior: Prior | None, samples: int) -> dict[str, float]:
    """Seconds by method; with the row's options or the method's own defaults, whichever take longer."""
    is_complex = op.complex_in if op.complex_in is not None else y.is_complex()
    x = torch.zeros((len(y), *op.shape_in), dtype=y.dtype.to_complex() if is_complex else y.dtype.to_real())
    x = x.to(y.device)
    evaluation = 0.0 if prior is None else _seconds(lambda: prior(x, (prior.sigma_min * prior.sigma_max) ** 0.5))
    unit = _seconds(lambda: work(op, x))
    return {
        row.method: samples
        * max(1.0, 1 / row.relative_time)
        * ((row.evaluations + 2 * row.gradients) * evaluation + row.work * unit)
        for row in rows
    }


@torch.no_grad()
def _seconds(call: Callable[[], Any]) -> float:
    """The least of three calls after a first one, since others may be using the machine; reading a value waits."""
    float(call().abs().sum())
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        float(call().abs().sum())
        times.append(time.perf_counter() - begin)
    return min(times)


def _why(row: Row, count: int) -> str:
    measured = f"{row.score:.1f} dB on held-out slices ({', '.join(row.scans)}), {row.gain:+.1f} dB over the adjoint"
    return f"; {row.method} chosen out of {count} that fit: {measured}"
