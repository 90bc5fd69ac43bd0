"""What the recipes of networks fitted to one scan share: runs beside the best iterate on their way, and the table.

The best iterate is an oracle: it is found with the truth, for the table alone, and no method sees it.
"""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

import invdiff
from invdiff.operators import Operator
from invdiff.plotting import Panel, compare, magnitude
from invdiff.priors import Prior
from invdiff.result import Result

CLOSE = 0.5  # dB from the best iterate that count as having found it
HEAD = """| scan | method | PSNR, dB (sd) | best (oracle), dB | within 0.5 dB | iterations | of the oracle's | nfe | s |
|---|---|---:|---:|---:|---:|---:|---:|---:|"""


@dataclass(frozen=True)
class Case:
    """A measurement of something known.

    scan: its kind, a row of the table. quality: of an image (B, C, H, W), dB.
    """

    scan: str
    y: Tensor
    op: Operator
    sigma_y: float | Tensor
    truth: Tensor
    quality: Callable[[Tensor], float]


@dataclass(frozen=True)
class Judged:
    """An image beside its path: `quality` in dB, `best` that of the best iterate, at iteration `best_at`, of `ran`."""

    quality: float
    best: float
    best_at: int
    ran: int

    @property
    def close(self) -> bool:
        return self.quality >= self.best - CLOSE

    @property
    def share(self) -> float:
        """Iterations run, in units of those up to the best."""
        return self.ran / self.best_at


@dataclass(frozen=True)
class Run(Judged):
    """One reconstruction."""

    result: Result


Runs = dict[tuple[str, str], list[Run]]  # by scan and method


def follow(case: Case, method: str, prior: Prior | None, **options: Any) -> Run:
    """Reconstruct, judging every iterate."""
    path: list[float] = []
    result = invdiff.solve(
        case.y,
        case.op,
        prior,
        method,
        sigma_y=case.sigma_y,
        seed=0,
        progress=False,
        callback=lambda record: path.append(case.quality(record["x"])),
        **options,
    )
    best = max(path, default=math.nan)
    return Run(case.quality(result.x), best, path.index(best) + 1 if path else 0, len(path), result)


def row(scan: str, method: str, runs: list[Run]) -> str:
    """Means over images, with the standard deviation of PSNR; what a stop rule does only where there is one."""
    quality, seconds = [run.quality for run in runs], statistics.mean(run.result.seconds for run in runs)
    spread = statistics.stdev(quality) if len(runs) > 1 else math.nan
    cells = ["", "", "", ""]
    if all(len(run.result.score) for run in runs):
        best, ran, share = (statistics.mean(getattr(run, name) for run in runs) for name in ("best", "ran", "share"))
        close, most = sum(run.close for run in runs), max(run.share for run in runs)
        cells = [f"{best:.2f}", f"{close} of {len(runs)}", f"{ran:.0f}", f"{share:.2f} (most {most:.2f})"]
    cells = [f"{statistics.mean(quality):.2f} ({spread:.2f})", *cells, str(runs[0].result.nfe), f"{seconds:.1f}"]
    return f"| {scan} | {method} | " + " | ".join(cells) + " |"


def table(cases: Iterable[Case], methods: dict[str, dict[str, Any]], prior: Prior | None) -> Runs:
    """Run every method (its name, perhaps with a remark after a comma) on every case, and print the rows."""
    runs: Runs = {}
    for case in cases:
        for label, options in methods.items():
            name = label.split(",")[0]
            found = follow(case, name, prior if invdiff.METHODS[name].prior else None, **options)
            runs.setdefault((case.scan, label), []).append(found)
            print(f"{case.scan}, {label}: {found.quality:.2f} dB after {found.result.seconds:.0f} s", flush=True)
    print("\n".join(["", HEAD, *(row(scan, label, each) for (scan, label), each in runs.items())]), flush=True)
    return runs


def figure(truth: Tensor, runs: Runs) -> Figure:
    """The first image of the first scan."""
    scan = next(iter(runs))[0]
    shown = {method: found[0] for (name, method), found in runs.items() if name == scan}
    panels = [Panel(method, magnitude(run.result.x), f"{run.quality:.1f} dB") for method, run in shown.items()]
    return compare(magnitude(truth), panels, title=scan)
