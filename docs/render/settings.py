"""Measured settings (`invdiff.tuned`) and distances from exact posteriors (solver_proof.json) of a method."""

import json
from typing import Any

from docs.render.markdown import escaped, table
from docs.render.tables import ROOT
from invdiff.tuned import Row, packaged

HEADER = ("operators", "prior", "noise", "options", "PSNR, dB", "with the defaults", "adjoint", "recipe")
PROOF = ROOT / "recipes" / "results" / "solver_proof.json"


def settings(name: str) -> list[str]:
    """What the packaged table of settings has of one method; nothing where it has none."""
    rows = [row for row in packaged() if row.method == name]
    if not rows:
        return []
    told = (
        "Options that `solve` takes where they are not passed and the noise, over the norm of A and in the prior's "
        "units, is within the range; PSNR in dB on held-out slices:"
    )
    return [told, "", *table(HEADER, map(_setting, rows))]


def listing() -> list[str]:
    """All rows of the table."""
    return table(("method", *HEADER), ((f"[`{row.method}`]({row.method}.md)", *_setting(row)) for row in packaged()))


def _setting(row: Row) -> tuple[str, ...]:
    chosen = ", ".join(f"{key}={value!r}" for key, value in row.options.items())
    scores = (f"{score:.2f}" for score in (row.score, row.baseline, row.adjoint))
    noise = f"{row.noise[0]:g} to {row.noise[1]:g}"
    return (row.family, row.prior or "none", noise, f"`{chosen}`" if chosen else "defaults", *scores, f"`{row.recipe}`")


def proof(name: str) -> list[str]:
    """How far a method is from exact posteriors, problem by problem; nothing where that was not measured."""
    cells = json.loads(PROOF.read_text(encoding="utf8")) if PROOF.exists() else {}
    records = {problem: record for problem, record in cells.get(name, {}).items() if not record.get("refusal")}
    if not records:
        return []
    told = (
        "Against exact posteriors (`recipes/solver_proof.py`): error of the mean in posterior standard deviations "
        "(exact: 0), spread over the exact one (exact: 1), and the least p-value of the tests of calibration:"
    )
    header = ("problem", "mean, measured", "unmeasured", "spread, measured", "unmeasured", "least p", "evaluations")
    return [told, "", *table(header, (_measured(problem, record) for problem, record in records.items()))]


def _measured(problem: str, record: dict[str, Any]) -> tuple[str, ...]:
    if record.get("stopped"):
        return (problem, escaped(record["stopped"]), "", "", "", "", "")
    values = [record[what][part][0] for what in ("mean", "spread") for part in ("measured", "unmeasured")]
    return (problem, *(f"{value:.2f}" for value in values), f"{min(record['p'].values()):.0e}", str(record["nfe"]))
