"""What a solver is: equation, operators, options, cost, measured rows and citation, all from the library itself."""

import inspect
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch

from docs.render.examples import MAKERS, example
from docs.render.markdown import escaped, prose, table
from docs.render.options import options_table
from docs.render.settings import proof, settings
from docs.render.tables import Table, about, measured
from invdiff.data.phantom import head_phantom
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors import GaussianPrior
from invdiff.solve import solve
from invdiff.solvers import METHODS, Method

NAMES = frozenset(METHODS)
CHEAP: dict[str, dict[str, Any]] = {
    "udig-dip": {"every": 1, "channels": 8}
}  # options that do not change the number of evaluations


def equation(name: str) -> list[str]:
    """The docstring of the solver's file: title, equations, source, where it leaves the paper."""
    module = sys.modules[METHODS[name].function.__module__]
    return prose(inspect.getdoc(module) or "")


def options(name: str) -> list[str]:
    """Table of options."""
    return options_table(METHODS[name].function)


def kind(method: Method) -> str:
    """Where its numbers come from, and what repeated runs are."""
    if method.sampler:
        return "sampler: repeated runs are meant to spread as the posterior does"
    return "optimiser: repeated runs spread less than the posterior" if method.prior else "one image, no prior"


def needs(name: str) -> list[str]:
    """What it asks for, from `METHODS` and its signature."""
    method, sigma = METHODS[name], inspect.signature(METHODS[name].function).parameters.get("sigma_y")
    noise = "not used" if sigma is None else "optional" if sigma.default is None else "needed"
    rows = [
        ("prior", "needed" if method.prior else "none"),
        ("gradients through the prior", "needed" if method.gradient else "none"),
        ("`sigma_y`", noise),
        ("kind", kind(method)),
    ]
    return table(("", f"`{name}`"), rows)


def refusal(method: Method, op: Operator) -> str | None:
    """Why it does not work behind an operator; None where it does."""
    if method.linear and not isinstance(op, LinearOperator):
        return "not linear"
    return method.fits(op)


def operators(name: str) -> list[str]:
    """Which of the example operators it takes, and why it refuses the others."""
    reasons = {case: refusal(METHODS[name], example(case)) for case in MAKERS}
    refused: dict[str, list[str]] = {}
    for case, reason in reasons.items():
        if reason is not None:
            refused.setdefault(reason, []).append(case)
    lines = ["Runs behind " + _listed(case for case, reason in reasons.items() if reason is None) + ".", ""]
    for reason, cases in refused.items():
        lines += [f"Refused behind {_listed(cases)}: {escaped(reason).rstrip('.')}.", ""]
    return lines


def _listed(cases: Iterable[str]) -> str:
    return ", ".join(f"`{case}`" for case in cases)


@cache
def counted(name: str) -> tuple[int, int]:
    """Evaluations of the prior and input gradients of one run with the default options, 16x16, twofold k-space."""
    op = example("CartesianMRI, 1 coil")
    images = [torch.as_tensor(head_phantom((32, 32), seed=i)).to(torch.complex64)[None] for i in range(8)]
    prior = GaussianPrior.fit(torch.stack(images), "stationary")
    y = op.simulate(images[0][None], 0.02, seed=0)
    result = solve(y, op, prior, name, sigma_y=0.02, seed=0, tuned=False, progress=False, **CHEAP.get(name, {}))
    return result.nfe, result.vjps


def cost(name: str) -> list[str]:
    """Evaluations and gradients of a run, counted."""
    if not METHODS[name].prior:
        return ["No evaluation of a prior.", ""]
    nfe, vjps = counted(name)
    gradients = f" and {vjps} input gradients" if vjps else ", no gradient through it"
    return [
        f"With its default options: {nfe} evaluations of the prior{gradients} per sample (counted while this page was "
        "made, on 32x32 pixels behind a Gaussian prior).",
        "",
    ]


def rows(name: str) -> list[str]:
    """What was measured of it, from the tables of the README and of the results, with their recipes."""
    found = [chosen for t in measured() if (chosen := about(t, name, NAMES)) is not None]
    lines = [*(line for t in found for line in _shown(t)), *proof(name), *settings(name)]
    return lines or ["Nothing in the tables of [results](../benchmarks.md) yet.", ""]


def _shown(found: Table) -> list[str]:
    recipes = ", ".join(f"`{name}`" for name in found.recipes)
    title = found.section.replace("`", "")
    return [f"{title} ({recipes}; in full under [benchmarks](../benchmarks.md)):", "", *table(found.header, found.rows)]


def citation(name: str) -> list[str]:
    """BibTeX."""
    return ["```bibtex", *METHODS[name].reference.splitlines(), "```", ""]


def listing() -> list[str]:
    """All methods in one table, with links."""
    rows = []
    for name, method in METHODS.items():
        takes = "linear" if method.linear else "any"
        asks = "gradients" if method.gradient else "evaluations" if method.prior else "none"
        rows.append((f"[`{name}`]({name}.md)", escaped(method.summary), takes, asks, kind(method).split(":")[0]))
    return table(("method", "what it does", "operators", "of the prior", "kind"), rows)
