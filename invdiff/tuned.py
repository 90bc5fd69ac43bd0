"""options = table[method, family of the operator, kind of prior]: settings found on training slices, and their scores.

`tuned.toml` beside this file holds a row for everything that recipes/tune.py has measured. A solver's own defaults stay
those of its paper; `invdiff.solve` puts a row's options in the place of those that the user did not pass, and says so.

A row holds for noise like that of the scans it was measured on, from the first to the second of `noise`, as images see
it: sigma_y / |A| in the prior's units. Slices at both ends of that range were measured, and at neither did the options
lose. Outside of it, where the noise level is unknown, and for operators and priors that nobody measured, the solver's
own defaults stay; so they do for methods that draw from a posterior, which PSNR would make draw too narrowly.

An operator says of what family it is (`Operator.family`), a prior of what kind (`kind`, as in the files of priors).
Either may be set on one's own, which claims that it is like the measured ones.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invdiff.files import write_whole
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEAD = """\
# What methods score, and the options with which they do, as measured by recipes/tune.py, which writes this file.
# Scores are PSNR in dB on held-out slices; evaluations and gradients are those of the prior, work the rest of the run
# time in units of one A^H A and one Fourier transform of the image; relative_time is 1 for the method's own defaults.
# See invdiff/tuned.py.
"""


@dataclass(frozen=True)
class Row:
    """One method behind one family of operators with one kind of prior ("" for methods without).

    options: better than the method's own defaults, or fewer evaluations at equal quality; {} where none are.
    noise: (low, high) of sigma_y / |A|, in the prior's units, in those of y without one.
    score, baseline, adjoint: PSNR, dB, means over held-out slices, with the options, with the own defaults, and
        of `adjoint`. evaluations, gradients: of the prior per image. work: what the rest of the time amounts to, in
        units of the function `work`.
    relative_time: that of the defaults is 1. slices: how many held-out ones behind each of the `scans`.
    recipe: the command. date: of the measurement.
    """

    method: str
    family: str
    prior: str
    noise: tuple[float, float]
    score: float
    baseline: float
    adjoint: float
    evaluations: int
    gradients: int
    work: float
    relative_time: float
    slices: int
    scans: tuple[str, ...]
    recipe: str
    date: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.method, self.family, self.prior

    @property
    def gain(self) -> float:
        """dB over the adjoint."""
        return self.score - self.adjoint

    def holds_at(self, noise: tuple[float, float]) -> bool:
        return self.noise[0] <= noise[0] and noise[1] <= self.noise[1]


@cache
def packaged() -> tuple[Row, ...]:
    """The rows of the packaged table."""
    return parse((files("invdiff") / "tuned.toml").read_text(encoding="utf8"))


def parse(text: str) -> tuple[Row, ...]:
    """The rows of a table.

    Raises:
        TypeError: an unknown or a missing key.
    """
    return tuple(Row(**_hashable(entry)) for entry in tomllib.loads(text).get("row", []))


def _hashable(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def write(path: Path, rows: Iterable[Row]) -> None:
    """The table, whole or not at all, in the order of families, then methods."""
    ordered = sorted(rows, key=lambda row: (row.family, row.prior == "", row.method))
    text = HEAD + "".join(f"\n[[row]]\n{_lines(row)}" for row in ordered)
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf8"))


def _lines(row: Row) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in asdict(row).items())


def _value(value: Any) -> str:
    """Text, numbers, booleans and lists are the same in JSON and TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    return json.dumps(value)


def work(op: Operator, x: Tensor) -> Tensor:
    """The unit of what a method does beside evaluating the prior: one A^H A and one Fourier transform of the image."""
    turned = op.normal(x) if isinstance(op, LinearOperator) else op.vjp(x, op(x))
    return turned + torch.fft.fft2(x).real


def kind_of(prior: Prior | None) -> str | None:
    """The kind of prior by which rows are found, None where it does not say."""
    return getattr(prior, "kind", None) or None


def seen_noise(op: Operator, level: Tensor) -> tuple[float, float]:
    """Least and greatest sigma_y / |A| of a batch, level being sigma_y, (B,), in the prior's units."""
    size = op.norm() or 1.0
    return float(level.min()) / size, float(level.max()) / size


def lookup(method: str, op: Operator, prior: Prior | None, level: Tensor | None) -> Row | None:
    """The row that holds for a problem; level is sigma_y, (B,), in the prior's units."""
    kind = "" if prior is None else kind_of(prior)
    row = next((row for row in packaged() if row.key == (method, op.family, kind)), None)
    return row if row is not None and level is not None and row.holds_at(seen_noise(op, level)) else None
