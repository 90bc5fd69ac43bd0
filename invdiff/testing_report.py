"""What `check_solver` found: one row of measures and p-values for each problem, and what they say of a claim."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from invdiff.calibration import Measure

CLAIMS = ("posterior", "estimate", "contract")
MEAN, SPREAD = 0.3, (0.9, 1.1)
"""Limits of a claim: error of the mean in posterior standard deviations, ratio of spreads."""
PARTS, LEVELS = ("measured", "unmeasured"), (0.5, 0.9)


@dataclass(frozen=True)
class Row:
    """One method on one problem.

    refusal: why the method did not begin; stopped: why it did not end. The rest is empty then.
    mean: root mean square error of the posterior mean in exact standard deviations, over directions that the data
        measure and those that they do not, with the part that is due to few draws taken off.
    spread: root mean square of standard deviations over exact ones. coverage: of central intervals of pixels.
    p: p-value of each test of calibration. gap: largest distance of TARP's curve from the diagonal.
    nfe, vjps, seconds: as of `Result`.
    """

    problem: str
    refusal: str = ""
    stopped: str = ""
    mean: Mapping[str, Measure] = field(default_factory=dict)
    spread: Mapping[str, Measure] = field(default_factory=dict)
    coverage: Mapping[str, Measure] = field(default_factory=dict)
    p: Mapping[str, float] = field(default_factory=dict)
    gap: float = 0.0
    nfe: int = 0
    vjps: int = 0
    seconds: float = 0.0

    def failures(self, claim: str, alpha: float) -> list[str]:
        """Sentences on what contradicts the claim; alpha is the limit of each p-value."""
        if self.stopped:
            return [self.stopped]
        off = [f"mean off by {m.value:.2f} where {part}" for part, m in self.mean.items() if not m.value <= MEAN]
        if claim == "posterior":
            low, high = SPREAD
            off += [f"spread {m.value:.2f} where {k}" for k, m in self.spread.items() if not low <= m.value <= high]
            off += [f"{test} (p = {p:.0e})" for test, p in self.p.items() if not p >= alpha]
        return off if claim != "contract" else []


@dataclass(frozen=True)
class SolverReport:
    """What `check_solver` returns; `print` shows it as a Markdown table.

    contract: promises that any method keeps, by name; what is wrong, or "" where nothing is.
    alpha: false alarms among exact samplers, over all tests of all problems together (Bonferroni).
    """

    method: str
    options: Mapping[str, Any]
    rows: tuple[Row, ...]
    contract: Mapping[str, str]
    simulations: int
    draws: int
    alpha: float

    @property
    def limit(self) -> float:
        """Of each p-value."""
        return self.alpha / max(sum(len(row.p) for row in self.rows), 1)

    def failures(self, claim: str) -> list[str]:
        """What contradicts the claim "posterior", "estimate" or "contract"; empty where it stands.

        Raises:
            ValueError: another claim.
        """
        if claim not in CLAIMS:
            raise ValueError(f"the claim must be {', '.join(CLAIMS)}, got {claim!r}.")
        broken = [sentence for sentence in self.contract.values() if sentence]
        off = [f"{row.problem}: {'; '.join(why)}" for row in self.rows if (why := row.failures(claim, self.limit))]
        idle = ["it was refused on every problem"] if all(row.refusal for row in self.rows) else []
        return broken + off + idle

    def __str__(self) -> str:
        names = " | ".join(next((", ".join(row.p) for row in self.rows if row.p), "").split(", "))
        parts = " | ".join(PARTS)
        head = f"| problem | mean, {parts} | spread, {parts} | 50 % | 90 % | {names} | verdict |"
        rule = "|---|" + "---:|" * (head.count("|") - 3) + "---|"
        text = f"{self.method}: {self.simulations} simulations, {self.draws} draws; "
        note = f"p-values below {self.limit:.1e} fail (false alarms: {self.alpha:.0%} of exact samplers)."
        broken = [f"- {sentence}" for sentence in self.contract.values() if sentence]
        return "\n".join([text + note, "", head, rule, *(self._line(row) for row in self.rows), *broken])

    def _line(self, row: Row) -> str:
        if row.refusal or row.stopped:
            return f"| {row.problem} | {row.refusal or row.stopped} |"
        measures = [*row.mean.values(), *row.spread.values(), *row.coverage.values()]
        cells = [f"{m.value:.2f} ± {m.error:.2f}" for m in measures] + [f"{p:.1g}" for p in row.p.values()]
        off = "; ".join(row.failures("posterior", self.limit)) or "passes"
        return f"| {row.problem} | {' | '.join(cells)} | {off} |"
