"""Where stop rules end a fit, against the best iterate of the whole path.

Every fit runs to its end, whatever the rule: a best iterate looked for only up to where the rule ended would flatter
rules that end too early. Rules that only look on share one fit; "held-out" fits less of y, and has one of its own,
judged by the best of the fit to all of y. The best iterate is an oracle, for the tables alone: no rule sees the truth.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from dip_runs import CLOSE, Case
from torch import Tensor

import invdiff
from invdiff.random import Noise
from invdiff.solvers.stopping import Never, Stop, stop_rule

ONLOOKERS = ("variance", "running", "discrepancy", "never")
PATIENCE = 500  # the default of all methods
RATIO, SHARE = 1.5, 0.8  # how many times the oracle's iterations a rule may take; on what part of images it is close


class Ended(NamedTuple):
    """What a rule made of a fit: PSNR of its image, of the best and of the last one, dB; iterations from 1."""

    quality: float
    best: float
    last: float
    at: int
    ran: int
    best_at: int

    def __str__(self) -> str:
        image = f"{self.quality:.2f} dB of iteration {self.at}, ran {self.ran}"
        return f"{image}; oracle {self.best:.2f} of {self.best_at}, last {self.last:.2f}"

    @property
    def close(self) -> bool:
        return self.quality >= self.best - CLOSE

    @property
    def ratio(self) -> float:
        return self.ran / self.best_at


class Jury(Never):
    """Rules that look on at a fit which heeds none of them."""

    def __init__(self, rules: dict[str, Stop]) -> None:
        super().__init__()
        self.rules, self.ran = rules, dict.fromkeys(rules, 0)

    def look(self, i: int, x: Tensor, residual: Tensor, shown: Tensor | None = None) -> Tensor:
        for name, rule in self.rules.items():
            if i == 0 or not bool(rule.done.all()):
                rule.look(i, x, residual, shown)
                self.ran[name] += 1
        return super().look(i, x, residual, shown)


def watched(case: Case, method: str, rules: Iterable[str], **options: Any) -> dict[str, Ended]:
    """Fit to the end: what each of the rules does."""
    sigma_y = torch.as_tensor(case.sigma_y).expand(1)
    named = {
        name: stop_rule(name, case.y, case.op, sigma_y, Noise([0]), PATIENCE) for name in rules if name in ONLOOKERS
    }
    jury = Jury(named)
    path: list[float] = []
    solve(case, method, lambda record: path.append(case.quality(record["x"])), stop=jury, **options)
    best = max(path)
    found = {}
    for name in rules:
        if name in named:
            quality, at, ran = case.quality(named[name].chosen), int(named[name].at) + 1, jury.ran[name]
        else:
            quality, at, ran = alone(case, method, name, options)
        found[name] = Ended(quality, best, path[-1], at, ran, path.index(best) + 1)
    return found


def alone(case: Case, method: str, rule: str, options: dict[str, Any]) -> tuple[float, int, int]:
    """PSNR, iteration of the choice and iterations of a fit that a rule ends."""
    x = solve(case, method, None, stop=rule, **options)
    return case.quality(x.x), int(x.score[:, 0, 0].nan_to_num(torch.inf).argmin()) + 1, len(x.score)


def solve(case: Case, method: str, look: Callable[[dict[str, Any]], None] | None, **options: Any) -> invdiff.Result:
    common: dict[str, Any] = {"sigma_y": case.sigma_y, "progress": False, "callback": look}
    return invdiff.solve(case.y, case.op, None, method, **common, **({"seed": 0} | options))


def verdict(name: str, ends: list[Ended]) -> str:
    """What must hold of a stop rule, in one line."""
    close, worst = sum(end.close for end in ends), max(end.ratio for end in ends)
    return (
        f"{name}: within {CLOSE} dB of the oracle on {close} of {len(ends)} ({close / len(ends):.0%}; wanted "
        f"{SHARE:.0%}), at most {worst:.2f} times its iterations (wanted {RATIO})"
    )
