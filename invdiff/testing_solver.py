"""x_1, ..., x_L ~ p(x | y): what that says of any solver, checked on problems whose posterior is known.

For users who bring their own: `print(check_solver(my_solver))`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from invdiff.calibration import (
    average,
    coverage,
    differs,
    least,
    ranks,
    root,
    tarp_gap,
    tarp_ranks,
    uniformity,
)
from invdiff.checks import nearest, require
from invdiff.monitor import Diverged
from invdiff.priors.gaussian_posterior import real_rows
from invdiff.priors.posterior import exact_posterior
from invdiff.random import mix
from invdiff.result import Result
from invdiff.shapes import norm
from invdiff.solve import solve
from invdiff.solvers import METHODS
from invdiff.solvers.named import Solver
from invdiff.testing_problems import PROBLEMS, QUICK, Problem, directions, problem
from invdiff.testing_report import CLAIMS, LEVELS, PARTS, Row, SolverReport

BATCH = 1e-2
"""Allowed change of an item by the others of its batch, relative: iterations that stop early magnify rounding."""


def check_solver(
    method: Solver,
    claims: str | None = None,
    *,
    problems: Sequence[str] | None = None,
    simulations: int = 64,
    draws: int = 19,
    quick: bool = False,
    alpha: float = 0.01,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> SolverReport:
    """Run a solver against exact posteriors, and hold it to what every solver promises.

    On each problem, truths are drawn from the prior and data from the truths, and the solver draws for each y. Measured
    are the error of the mean and the ratio of spreads, in directions that the data measure and in those that they do
    not, and coverage of 50 and 90 % intervals. Tested are that coverage, the uniformity of the ranks of the truth
    (pixels, log p(y | x), log p(x)), and TARP with references that depend on y. Promises: finite results of the right
    kind, the same for the same seed and whatever else is in the batch; y and the global generator left alone; the
    callback called; complex images taken.

    Args:
        method: a key of `METHODS`, or a function of the same form as the solvers there.
        claims: raise unless this stands: "posterior" (draws follow it: mean within 0.3 standard deviations, spread
            within 10 %, no test failed), "estimate" (only the mean), "contract" (only the promises), or "flags",
            whichever of these the flags of a key of `METHODS` say. None only reports.
        problems: names from `invdiff.testing.PROBLEMS`; by default all of them, a prior and an operator each.
        simulations: truths and data per problem, at least 8. draws: for each of them, at least 2; 19 make the intervals
            exact. The errors of all measures fall with the root of the simulations.
        quick: four of the problems with 24 simulations, a sixth of the work, unless told otherwise.
        alpha: probability that an exact sampler fails any of the tests (together, Bonferroni), not far above.
        seed: of everything. progress: show a bar over problems.
        options: of the method.

    Raises:
        AssertionError: what contradicts the claim.
        ValueError: an unknown claim, problem or method.

    Example:
        >>> print(check_solver("pnp-dm", quick=True))  # doctest: +SKIP
    """
    require("simulations", simulations, at_least=8)
    require("draws", draws, at_least=2)
    names = list(problems) if problems is not None else list(QUICK if quick else PROBLEMS)
    for name in names:
        if name not in PROBLEMS:
            raise ValueError(f"unknown problem {name!r}.{nearest(name, PROBLEMS)}")
    claim = _claim(method, claims)
    count = 24 if quick and simulations == 64 else simulations
    rows = [
        examine(method, name, count, draws, mix(seed, PROBLEMS.index(name)), options)
        for name in tqdm(names, desc="check_solver", disable=not progress)
    ]
    title = method if isinstance(method, str) else getattr(method, "__name__", "custom")
    broken = contract(method, seed, options)
    report = SolverReport(title, options, tuple(rows), broken, count, draws, alpha)
    off = report.failures(claim) if claim is not None else []
    if off:
        raise AssertionError(f"{title} does not keep the claim {claim!r}:\n" + "\n".join(f"- {why}" for why in off))
    return report


def _claim(method: Solver, claims: str | None) -> str | None:
    if claims is None or claims in CLAIMS:
        return claims
    if claims != "flags":
        raise ValueError(f"claims must be None, 'flags' or one of {', '.join(CLAIMS)}, got {claims!r}.")
    if not isinstance(method, str):
        raise ValueError(f"a function has no flags; say what it claims: {', '.join(CLAIMS)}.")
    return flagged(method)


def flagged(method: str) -> str:
    """What the flags of a key of `METHODS` claim."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}.{nearest(method, METHODS)}")
    known = METHODS[method]
    return "posterior" if known.sampler else "estimate" if known.prior else "contract"


def examine(method: Solver, name: str, simulations: int, draws: int, seed: int, options: dict[str, Any]) -> Row:
    """One method on one problem."""
    setting = problem(name)
    truth, y = simulate(setting, simulations, seed)
    steps: list[Any] = []
    try:
        result = _solve(method, setting, y, mix(seed, 2), options, num_samples=draws, callback=steps.append)
    except Diverged as error:
        return Row(name, stopped=str(error))
    except (ValueError, TypeError) as refusal:
        if steps:
            raise
        return Row(name, refusal=str(refusal))
    if result.x.dtype != truth.dtype:
        return Row(name, stopped=_kind(result.x, truth.is_complex()))
    return compare(name, truth, y, result.samples, nfe=result.nfe, vjps=result.vjps, seconds=result.seconds)


def simulate(setting: Problem, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Truths (count, C, H, W) from the prior and their data, in single precision."""
    truth = setting.prior.sample(count, mix(seed, 0))
    truth = truth.to(torch.complex64 if truth.is_complex() else torch.float32)
    return truth, setting.op.simulate(truth, setting.sigma_y, mix(seed, 1))


def compare(name: str, truth: Tensor, y: Tensor, samples: Tensor, **cost: Any) -> Row:
    """Samples (N, L, C, H, W) for the data y of N truths, against the exact posteriors."""
    setting = problem(name)
    posterior, axes = exact_posterior(setting.prior, setting.op, y, setting.sigma_y), directions(*setting)
    draws = samples.shape[1]
    off = axes.of(samples) - axes.of(posterior.mean)[:, None]
    off = off / axes.deviations(posterior)[:, None]  # exact draws: independent of mean 0 and variance 1, (N, L, d)
    variance = off.var(1)
    square = off.mean(1).square() - variance / draws
    parts = dict(zip(PARTS, (axes.measured, ~axes.measured), strict=True))
    pixels, *scalars = _ranked(setting, truth, y, samples)
    cover = {f"{level:.0%}": coverage(pixels, draws, level) for level in LEVELS}
    p = {f"coverage {level}": differs(found.inside, found.expected) for level, found in cover.items()}
    p["pixels"] = least(uniformity(pixels, draws))
    p |= {test: float(uniformity(r, draws)) for test, r in zip(("likelihood", "prior", "TARP"), scalars, strict=True)}
    return Row(
        name,
        mean={part: root(average(square[:, on].mean(1))) for part, on in parts.items()},
        spread={part: root(average(variance[:, on].mean(1))) for part, on in parts.items()},
        coverage={level: average(found.inside) for level, found in cover.items()},
        p=p,
        gap=tarp_gap(scalars[-1], draws),
        **cost,
    )


def _ranked(setting: Problem, truth: Tensor, y: Tensor, samples: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ranks of the truth among samples (N, L, C, H, W): of its pixels (N, m), log p(y | x), log p(x), and TARP's."""
    prior, op, _ = setting
    flat, draws = samples.flatten(0, 1), samples.shape[1]

    def both(f: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return ranks(f(truth, y), f(flat, y.repeat_interleave(draws, 0)).unflatten(0, (-1, draws)))

    return (
        both(lambda x, y: real_rows(x)),
        both(lambda x, y: -norm(op(x) - y)),
        both(lambda x, y: prior.log_density(x, prior.sigma_min)),  # what the last level of a solver can tell apart
        tarp_ranks(truth, samples, op.reference_image(y)),
    )


def contract(method: Solver, seed: int, options: dict[str, Any]) -> dict[str, str]:
    """Promises of any method on a real and a complex problem; a sentence on each that is broken, "" for the others."""
    broken: dict[str, str] = {}
    for name in ("Gaussian, blur", "Gaussian, MRI"):
        setting = problem(name)
        _, y = simulate(setting, 3, mix(seed, 3))
        for promise, sentence in _promises(method, setting, y, seed, options).items():
            broken[promise] = broken.get(promise) or (f"{name}: {sentence}" if sentence else "")
    return broken


def _promises(method: Solver, setting: Problem, y: Tensor, seed: int, options: dict[str, Any]) -> dict[str, str]:
    state, steps = torch.get_rng_state(), list[Any]()
    try:
        pair = _solve(method, setting, y[:2], seed, options, callback=steps.append).x
    except Diverged as error:
        return {"finite": str(error)}
    except (ValueError, TypeError) as error:
        return {} if isinstance(method, str) and not steps else {"kind": f"failed: {error}"}  # a key may refuse
    watched, changes = _watched(method)
    again = _solve(watched, setting, y[:2], seed, options).x
    moved = not torch.equal(state, torch.get_rng_state())
    other = _solve(method, setting, y[::2], seed, options).x
    alone = _solve(method, setting, y[:1], seed, options).x
    change = max(float((x[:1] - alone).norm() / alone.norm().clamp(min=1e-30)) for x in (pair, other))
    kind = _kind(pair, setting.prior.complex)
    found = {
        "kind": (kind != "", kind),
        "y": (any(changes), "y was changed"),
        "global generator": (moved, "the global random generator was moved; draw from `noise`"),
        "seed": (not torch.equal(pair, again), "the same seed gave another result; draw from `noise` alone"),
        "batch": (not change <= BATCH, f"an item changes by {change:.1g} with the others of its batch"),
        "callback": (not steps, "the callback was never called; call it once a step"),
    }
    return {promise: sentence if wrong else "" for promise, (wrong, sentence) in found.items()}


def _kind(x: Tensor, is_complex: bool) -> str:
    wanted = torch.complex64 if is_complex else torch.float32
    return "" if x.dtype == wanted else f"images are {x.dtype}, and must be {wanted}"


def _watched(method: Solver) -> tuple[Callable[..., Tensor], list[bool]]:
    """The solver, and a list that gets at each call whether it changed its y, of which `solve` hands out a copy."""
    function = METHODS[method].function if isinstance(method, str) else method
    changes: list[bool] = []

    @functools.wraps(function)
    def watched(y: Tensor, *rest: Any, **more: Any) -> Tensor:
        before = y.clone()
        x = function(y, *rest, **more)
        changes.append(not torch.equal(y, before))
        return x

    return watched, changes


def _solve(method: Solver, setting: Problem, y: Tensor, seed: int, options: dict[str, Any], **more: Any) -> Result:
    prior, op, sigma_y = setting
    common: dict[str, Any] = {"sigma_y": sigma_y, "seed": seed, "scale": 1.0, "progress": False}
    return solve(y, op, prior, method, **common, **more, **options)
