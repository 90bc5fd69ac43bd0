"""Options of methods for each kind of operator: found on training slices, confirmed on held-out ones, written down.

    python recipes/tune.py --data FOLDER --families mri ct --methods dc-pnp dds

FOLDER holds mri_brain_train.h5 and ct_train.h5, each with the parts `train` and `val`, which the packaged priors
`brain-mri` and `ct` were made with. What is tried, and behind which scans, is in recipes/tune_scans.py. A change is
kept if on the training slices it gains 0.1 dB, or spares evaluations and costs at most 0.05 dB. All changes together
are written if on the held-out slices they gain 0.2 dB, or spare evaluations and cost at most 0.05 dB; no slice may
lose more than 0.2 dB. Where that fails, and for methods without a grid, the row holds what the own defaults score.

Every measurement is added to --log at once, and one that is there is not repeated: an interrupted run goes on. Every
row is written to --table as soon as it is known, the packaged table unless another is named.
"""

import argparse
import json
from datetime import date
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from tune_scans import FILES, GRIDS, SCANS, Problem, Score, problem, run

from invdiff import METHODS, tuned

KEPT, EQUAL, WRITTEN, LOST = 0.1, -0.05, 0.2, 0.2  # dB
OFF = 1.25  # by which noise may be beyond the range that was measured, since it is estimated
COLUMNS = ("family", "method", "options", "score", "baseline", "adjoint", "evaluations", "relative_time")


class Bench:
    """Measures, and remembers what it has measured, in memory and in the log."""

    def __init__(self, data: Path, slices: int, log: Path) -> None:
        self.data, self.slices, self.log = data, slices, log
        lines = log.read_text(encoding="utf8").splitlines() if log.exists() else []
        self.known: dict[str, Score] = {key: Score(*values) for key, values in map(json.loads, lines)}
        self.problem = cache(self._problem)

    def _problem(self, scan: str, part: str) -> Problem:
        return problem(scan, part, self.data, self.slices)

    def measure(self, method: str, options: dict[str, Any], scan: str, part: str) -> Score:
        key = json.dumps([method, options, scan, SCANS[scan].noise, part, self.slices])
        if key not in self.known:
            self.known[key] = run(self.problem(scan, part), method, options)
            with self.log.open("a", encoding="utf8") as file:
                file.write(json.dumps([key, self.known[key]]) + "\n")
            print(f"  {part}: {scan}, {method} {options}: {mean(self.known[key].psnr):.2f} dB", flush=True)
        return self.known[key]


def better(new: list[Score], old: list[Score], least: float) -> bool:
    """Whether scores, one for each scan, gain so many dB, or spare evaluations and are as good; on no slice worse."""
    gains = [a - b for n, o in zip(new, old, strict=True) for a, b in zip(n.psnr, o.psnr, strict=True)]
    spares = sum(map(cost, new)) < sum(map(cost, old))
    return min(gains) >= -LOST and mean(gains) >= (EQUAL if spares else least)


def cost(score: Score) -> int:
    """Evaluations of the prior, an input gradient being worth two."""
    return score.nfe + 2 * score.vjps


def tune(bench: Bench, method: str, family: str, scans: list[str], grid: dict[str, list[Any]], told: str) -> tuned.Row:
    """What the grid of a method gives behind the scans of a family."""

    def scores(options: dict[str, Any], part: str, method: str = method) -> list[Score]:
        return [bench.measure(method, options, scan, part) for scan in scans]

    best: dict[str, Any] = {}
    for option, values in grid.items():
        for value in values:
            trial = best | {option: value}
            best = trial if better(scores(trial, "train"), scores(best, "train"), KEPT) else best
    own, new = scores({}, "val"), scores(best, "val")
    if not better(new, own, WRITTEN):
        best, new = {}, own
    prior = bench.problem(scans[0], "val").prior if METHODS[method].prior else None
    return tuned.Row(
        method=method,
        family=family,
        prior="" if prior is None else tuned.kind_of(prior) or "",
        noise=(rounded(min(s.noise[0] for s in new) / OFF), rounded(max(s.noise[1] for s in new) * OFF)),
        score=quality(new),
        baseline=quality(own),
        adjoint=quality(scores({}, "val", "adjoint")),
        evaluations=max(s.nfe for s in new),
        gradients=max(s.vjps for s in new),
        work=rounded(mean(s.work for s in new)),
        relative_time=rounded(sum(s.seconds for s in new) / sum(s.seconds for s in own)),
        slices=bench.slices,
        scans=tuple(scans),
        recipe=f"recipes/tune.py --families {family} --methods {method} --slices {bench.slices}{told}",
        date=date.today().isoformat(),
        options=best,
    )


def quality(scores: list[Score]) -> float:
    return round(mean(value for score in scores for value in score.psnr), 2)


def rounded(value: float) -> float:
    return float(f"{value:.2g}")


def update(table: Path, row: tuned.Row) -> None:
    """Put a row in the place of the one of its key."""
    held = tuned.parse(table.read_text(encoding="utf8")) if table.exists() else ()
    tuned.write(table, [*(other for other in held if other.key != row.key), row])


def main(arguments: list[str] | None = None) -> None:
    of = {scan: str(made.op().family) for scan, made in SCANS.items()}
    families = list(dict.fromkeys(of.values()))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with " + " and ".join(FILES.values()))
    parser.add_argument("--families", nargs="+", default=families, choices=families)
    parser.add_argument("--methods", nargs="+", default=list(GRIDS), choices=list(METHODS))
    parser.add_argument("--own", action="store_true", help="try nothing: what the methods' own defaults score")
    parser.add_argument("--slices", type=int, default=2, help="training slices, and as many held-out ones")
    parser.add_argument("--log", type=Path, default=Path("tune.jsonl"))
    parser.add_argument("--table", type=Path, default=Path(tuned.__file__).with_name("tuned.toml"))
    args = parser.parse_args(arguments)
    bench = Bench(args.data, args.slices, args.log)
    print("| " + " | ".join(COLUMNS) + " |\n|---|---|---|" + "---:|" * 5)
    for family in args.families:
        scans = [scan for scan in SCANS if of[scan] == family]
        for method in args.methods:
            if all(METHODS[method].fits(SCANS[scan].op()) is None for scan in scans):
                grid, told = ({}, " --own") if args.own else (GRIDS.get(method, {}), "")
                row = tune(bench, method, family, scans, grid, told)
                update(args.table, row)
                print("| " + " | ".join(str(getattr(row, column)) for column in COLUMNS) + " |", flush=True)


if __name__ == "__main__":
    main()
