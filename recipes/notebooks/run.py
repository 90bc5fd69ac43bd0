"""Every tutorial from top to bottom, each in a fresh process and an empty folder, on the CPU, warnings as errors.

    python recipes/notebooks/run.py                      # all
    python recipes/notebooks/run.py 01 03 --out figures  # two of them; every figure as a PNG

prints for each the seconds of wall clock and CPU, and for one that failed the end of what it printed. The exit status
is 1 if one fails, takes longer than --limit, warns, or calls for a download.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from pair import FOLDER, scripts

ROOT = FOLDER.parents[1]
SHOWN = 2000  # characters of the output of one that failed


class Outcome(NamedTuple):
    """fault: why it failed, empty if it did not. output: what it printed. seconds: wall clock. cpu: seconds of CPU."""

    fault: str
    output: str
    seconds: float
    cpu: float


def main() -> None:
    args = _arguments()
    chosen = [script for script in scripts() if not args.names or script.name.startswith(tuple(args.names))]
    if not chosen:
        sys.exit(f"no tutorial begins with {', '.join(args.names)}; there is: {', '.join(s.stem for s in scripts())}.")
    failed = []
    for script in chosen:
        outcome = run(script, args.limit, args.out)
        failed += [script.stem] if outcome.fault else []
        times = f"{outcome.seconds:6.1f} s, {outcome.cpu:6.1f} s of CPU"
        print(f"{script.stem:32} {times}  {outcome.fault or 'ok'}", flush=True)
        if outcome.fault or args.verbose:
            print(outcome.output if args.verbose else outcome.output[-SHOWN:], flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of the names of those to run (default: all)")
    parser.add_argument("--out", type=Path, help="folder for the figures (default: they are drawn and thrown away)")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for each (default 120)")
    parser.add_argument("--verbose", action="store_true", help="show what they print")
    return parser.parse_args()


def run(script: Path, limit: float, out: Path | None = None) -> Outcome:
    """Run one script; figures go to `out`, which is made."""
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as thrown_away:
        figures = Path(thrown_away) if out is None else out.absolute()
        figures.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-W", "error", str(FOLDER / "execute.py"), str(script.absolute()), str(figures)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        begin, before = time.perf_counter(), _cpu()
        try:
            done = subprocess.run(
                command,
                cwd=empty,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=limit,
                encoding="utf-8",
            )
        except subprocess.TimeoutExpired as late:
            output = (late.stdout or b"").decode("utf-8", "replace")
            return Outcome(f"took longer than {limit:g} s", output, time.perf_counter() - begin, _cpu() - before)
    fault = f"exit status {done.returncode}" if done.returncode else ""
    return Outcome(fault, done.stdout, time.perf_counter() - begin, _cpu() - before)


def _cpu() -> float:
    """Seconds that finished children have used."""
    spent = os.times()
    return spent.children_user + spent.children_system


if __name__ == "__main__":
    main()
