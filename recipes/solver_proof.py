"""Every method with a prior against exact posteriors: how far its mean and spread are off, and what calibration says.

    python recipes/solver_proof.py
    PYTHONPATH=. python recipes/solver_proof.py --method my_module:my_solver --out my_proof.json

Gaussian and Gaussian-mixture priors behind inpainting, blur, single-coil MRI and CT, 8x8 pixels, noise 0.1 |A|. Rows
"exact" and "prior only" frame the table: draws from the posterior, and draws that never saw the data. Cells are written
as they come; a second run goes on from there. Networks that are fitted to a scan are left out: without a prior there is
no posterior to be off from.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from invdiff.calibration import Measure
from invdiff.data.atomic import write_files
from invdiff.operators.base import LinearOperator
from invdiff.priors.posterior import exact_posterior
from invdiff.random import Noise, mix
from invdiff.solvers import METHODS
from invdiff.solvers.named import Solver, method_named
from invdiff.testing import PROBLEMS
from invdiff.testing_report import Row, SolverReport
from invdiff.testing_solver import examine, flagged

ALPHA, SEED = 0.01, 0
OUT = Path(__file__).parent / "results" / "solver_proof.json"


def exact(y: Tensor, op: LinearOperator, prior: Any, *, sigma_y: Tensor, noise: Noise, callback: Any) -> Tensor:
    """One draw from the exact posterior of each y."""
    posterior = exact_posterior(prior.prior, op, y, float(sigma_y[0]))
    x = posterior.sample(1, noise.generators[0])[:, 0].to(y.dtype if prior.complex else torch.float32)
    callback(0, 1, x=x)
    return x


def prior_only(y: Tensor, op: LinearOperator, prior: Any, *, noise: Noise, callback: Any) -> Tensor:
    """One draw from the prior for each y, which is not looked at."""
    x: Tensor = prior.sample(len(y), noise).to(torch.complex64 if prior.complex else torch.float32)
    callback(0, 1, x=x)
    return x


CONTROLS: dict[str, Callable[..., Tensor]] = {"exact": exact, "prior only": prior_only}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "pigdm, 400 levels": ("pigdm", {"steps": 400}),
}
"""Rows beside those of the defaults: the method and its options."""


def rows() -> dict[str, tuple[Solver, dict[str, Any]]]:
    """Controls, methods with a prior as `solve` runs them, and other settings."""
    plain = [name for name, method in METHODS.items() if method.prior and name != "udig-dip"]
    return {
        **{name: (solver, {}) for name, solver in CONTROLS.items()},
        **{name: (name, {}) for name in plain},
        **SETTINGS,
    }


def cell(solver: Solver, name: str, options: dict[str, Any], simulations: int, draws: int) -> dict[str, Any]:
    """The record of one method on one problem."""
    row = examine(solver, name, simulations, draws, mix(SEED, PROBLEMS.index(name)), options)
    return asdict(row) | {"options": options, "simulations": simulations, "draws": draws}


def restored(record: dict[str, Any]) -> Row:
    """The row of a record from a file."""
    known = {k: v for k, v in record.items() if k not in ("options", "simulations", "draws")}
    measures = ("mean", "spread", "coverage")
    return Row(**known | {k: {name: Measure(*pair) for name, pair in known[k].items()} for k in measures})


def line(name: str, solver: Solver, cells: dict[str, dict[str, Any]], prior: str) -> str:
    """Of the Markdown table: the worst of each measure over the operators, least p-values, where the claim holds."""
    known = [record for key, record in cells.items() if key.startswith(prior) and not record["refusal"]]
    report = SolverReport(name, {}, tuple(map(restored, known)), {}, 0, 0, ALPHA)
    ran = [row for row in report.rows if not row.stopped]
    if not ran:
        return f"| {name} | none ran |"
    means = [max(row.mean[part].value for row in ran) for part in ("measured", "unmeasured")]
    spreads = [[row.spread[part].value for row in ran] for part in ("measured", "unmeasured")]
    cover = [[row.coverage[level].value for row in ran] for level in ("50%", "90%")]
    least = [min(row.p[test] for row in ran) for test in ("pixels", "likelihood", "prior", "TARP")]
    shown = [f"{m:.2f}" for m in means] + [f"{min(v):.2f} to {max(v):.2f}" for v in (*spreads, *cover)]
    shown += [f"{p:.0e}" for p in least] + [f"{ran[0].nfe} + {ran[0].vjps}"]
    held = flagged(solver) if isinstance(solver, str) else "posterior"
    shown += ["{simulations} x {draws}".format(**known[0]), held]
    passed = [row.problem.split(", ")[1] for row in report.rows if not row.failures(held, report.limit)]
    return f"| {name} | {' | '.join(shown)} | {', '.join(passed) or 'none'} of {len(known)} |"


def table(cells: dict[str, dict[str, dict[str, Any]]], solvers: dict[str, Solver]) -> str:
    """Markdown, one part for each prior."""
    names = ("mean, measured", "unmeasured", "spread, measured", "unmeasured", "50 %", "90 %")
    tests = ("p, pixels", "likelihood", "prior", "TARP", "evaluations + gradients", "drawn", "claim", "holds")
    head = f"| | {' | '.join(names + tests)} |\n|---|{'---:|' * 12}---|---|"
    parts = []
    for prior in ("Gaussian", "mixture"):
        known = {name: found for name, found in cells.items() if any(key.startswith(prior) for key in found)}
        lines = [line(name, solvers[name], found, prior) for name, found in known.items() if name in solvers]
        parts.append(f"{prior} prior\n\n{head}\n" + "\n".join(lines))
    return "\n\n".join(parts)


def readable(cells: dict[str, Any]) -> str:
    """JSON with a line for each row."""
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(found)}" for name, found in cells.items()) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", default=list(rows()), choices=list(rows()))
    parser.add_argument("--method", help="your solver, module:function, in place of all rows but the controls")
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--simulations", type=int, default=32)
    parser.add_argument("--draws", type=int, default=19)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--table", action="store_true", help="print what --out holds, and run nothing")
    options = parser.parse_args()
    if min(options.simulations - 7, options.draws - 1) < 1:
        parser.error("at least 8 simulations and 2 draws are needed")
    chosen = {name: rows()[name] for name in options.rows}
    if options.method is not None:
        chosen = {name: (solver, {}) for name, solver in CONTROLS.items()}
        chosen[options.method] = (method_named(options.method), {})
    cells = json.loads(options.out.read_text()) if options.out.exists() else {}
    asked = {"simulations": options.simulations, "draws": options.draws}
    wanted = [] if options.table else [(name, problem) for name in chosen for problem in options.problems]
    for name, problem in tqdm(wanted, disable=options.table):
        solver, settings = chosen[name]
        known = cells.setdefault(name, {}).get(problem)
        if known is None or any(known[k] != v for k, v in (asked | {"options": settings}).items()):
            cells[name][problem] = cell(solver, problem, settings, **asked)
            write_files({options.out: readable(cells).encode()}, overwrite=True)
    print(table(cells, {name: solver for name, (solver, _) in chosen.items()}))


if __name__ == "__main__":
    main()
