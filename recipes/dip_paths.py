"""Where stop rules end a fit, against the best iterate of the whole path.

Every fit runs to its end, whatever the rule: a best iterate looked for only up to where the rule ended would flatter
rules that end too early. Rules that only look on share one fit; "held-out" fits less of y, and has one of its own,
judged by the best of the fit to all of y. The best iterate is an oracle, for the tables alone: no rule sees the truth.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from dip_runs import CLOSE, Case, Judged, follow
from torch import Tensor

from invdiff.random import Noise
from invdiff.solvers.stopping import Never, Stop, stop_rule

ONLOOKERS = ("variance", "running", "discrepancy", "never")
PATIENCE = 500  # the default of all methods
RATIO, SHARE = 1.5, 0.8  # how many times the oracle's iterations a rule may take; on what part of images it is close


@dataclass(frozen=True)
class Ended(Judged):
    """What a rule made of a fit: its image, that of iteration `at`, from 1, and the PSNR of the last one, dB."""

    at: int
    last: float

    def __str__(self) -> str:
        image = f"{self.quality:.2f} dB of iteration {self.at}, ran {self.ran}"
        return f"{image}; oracle {self.best:.2f} of {self.best_at}, last {self.last:.2f}"


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
    whole = follow(case, method, None, stop=jury, **options)
    found = {}
    for name in rules:
        if name in named:
            quality, at, ran = case.quality(named[name].chosen), int(named[name].at) + 1, jury.ran[name]
        else:
            run = follow(case, method, None, stop=name, **options)
            assert run.result.chosen is not None  # there is a rule
            quality, at, ran = run.quality, int(run.result.chosen) + 1, run.ran
        found[name] = Ended(quality, whole.best, whole.best_at, ran, at, whole.quality)
    return found


def verdict(name: str, ends: list[Ended]) -> str:
    """What must hold of a stop rule, in one line."""
    close, worst = sum(end.close for end in ends), max(end.share for end in ends)
    return (
        f"{name}: within {CLOSE} dB of the oracle on {close} of {len(ends)} ({close / len(ends):.0%}; wanted "
        f"{SHARE:.0%}), at most {worst:.2f} times its iterations (wanted {RATIO})"
    )
