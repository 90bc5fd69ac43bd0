"""Settings as data: what the table may hold, when a row applies, and that the user always has the last word."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff import automatic, tuned
from invdiff.operators import CartesianMRI, GaussianBlur, Identity, Inpainting, RealToComplex, stack, weighted
from invdiff.operators.base import Operator
from invdiff.priors.gaussian import GaussianPrior
from invdiff.solve import RESERVED
from invdiff.solvers import METHODS
from invdiff.solvers.dds import dds
from invdiff.tuned import Row, parse, write
from tests.operators.cases import CASES

KINDS = ("", "network", "patch-mixture", "local-wiener", "hybrid", "gaussian", "gaussian-mixture")
FAMILIES = ("mri", "ct", "inpainting", "blur", "super-resolution")
SIGMA = 0.1

Table = Callable[..., None]


def row(method: str = "dds", **changes: Any) -> Row:
    """A row that holds at any noise."""
    values: dict[str, Any] = {
        "method": method,
        "family": "mri",
        "prior": "planted" if METHODS[method].prior else "",
        "noise": (0.0, math.inf),
        "score": 30.0,
        "baseline": 29.0,
        "adjoint": 20.0,
        "evaluations": 0,
        "gradients": 0,
        "work": 0.0,
        "relative_time": 1.0,
        "slices": 2,
        "scans": ("a scan",),
        "recipe": "recipes/tune.py",
        "date": "2026-01-01",
        "options": {},
    }
    return Row(**values | changes)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """Puts rows in the place of the packaged ones."""

    def plant(*rows: Row) -> None:
        for module in (tuned, automatic):
            monkeypatch.setattr(module, "packaged", lambda: rows)

    return plant


def mri(h: int = 8, w: int = 8) -> CartesianMRI:
    return CartesianMRI(torch.arange(w) % 2 == 0, shape=(h, w))


def prior(kind: str | None = "planted", complex: bool = True) -> GaussianPrior:
    dtype = torch.complex64 if complex else torch.float32
    made = GaussianPrior.stationary(torch.zeros(1, 8, 8, dtype=dtype), torch.ones(1, 8, 8))
    if kind is not None:
        made.kind = kind  # type: ignore[misc]
    return made


def measured(op: Operator | None = None) -> Tensor:
    return (op or mri()).simulate(prior().sample(1, 3), SIGMA, seed=1)


def solve(op: Operator | None = None, method: Any = "dds", **options: Any) -> invdiff.Result:
    common: dict[str, Any] = {"sigma_y": SIGMA, "seed": 0, "scale": 1.0, "prior": prior()}
    return invdiff.solve(measured(), op or mri(), method=method, **common | options)


def faults(rows: Iterable[Row]) -> list[str]:
    """What is wrong with a table."""
    found, seen = [], set()
    for r in rows:
        method = METHODS.get(r.method)
        if method is None:
            found.append(f"{r.method}: no such method")
            continue
        parameters = inspect.signature(method.function).parameters
        own = {k for k, p in parameters.items() if p.kind is p.KEYWORD_ONLY} - set(RESERVED)
        checks = {
            f"no such options: {r.options.keys() - own}": r.options.keys() <= own,
            "a prior for a method with none, or none for one with": method.prior == (r.prior != ""),
            "options of a sampler, tuned for PSNR": not (method.sampler and r.options),
            "options without a prior, where noise has no unit": not (r.prior == "" and r.options),
            f"no such family: {r.family}": r.family in FAMILIES,
            f"no such kind of prior: {r.prior}": r.prior in KINDS,
            f"not a range of noise: {r.noise}": 0 <= r.noise[0] < r.noise[1],
            "no gain": r.score >= r.baseline - 0.05 if r.options else r.score == r.baseline,
            "the options are the defaults": all(parameters[k].default != v for k, v in r.options.items() if k in own),
            "not measured": r.slices > 0 and bool(r.scans) and r.relative_time > 0 and r.evaluations >= 0,
            "twice": r.key not in seen,
        }
        seen.add(r.key)
        found += [f"{r.key}: {text}" for text, good in checks.items() if not good]
    return found


def test_the_packaged_table_is_sound() -> None:
    rows = tuned.packaged()
    assert rows
    assert faults(rows) == []
    assert not any(r.prior.startswith("gaussian") for r in rows)  # exactness is proved of the methods as published


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"stepz": 3}},
        {"options": {"sigma_y": 3.0}},
        {"options": {"steps": 100}},  # the default itself
        {"family": "mry"},
        {"prior": "netwerk"},
        {"prior": ""},
        {"noise": (0.1, 0.01)},
        {"score": 28.0},
        {"slices": 0},
    ],
)
def test_a_wrong_row_is_seen(changes: dict[str, Any]) -> None:
    good = row(prior="network", score=30.0, baseline=29.0, options={"steps": 50})
    assert faults([good]) == []
    assert faults([replace(good, **changes)])


def test_wrong_methods_samplers_and_repeats_are_seen() -> None:
    good = row(prior="network", baseline=30.0)
    assert faults([replace(good, method="ddz")])
    assert faults([good, good])
    assert faults([row("daps", prior="network", options={"steps": 50})])
    assert faults([row("tv", prior="", options={"iterations": 50})])


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    options = {"steps": 7, "grid": "vp", "teleport": False, "gamma": 0.5}
    rows = (row(options=options, noise=(0.01, 0.5)), row("tv", noise=(0.0, 1.0)))
    write(tmp_path / "t.toml", rows)
    assert set(map(str, parse((tmp_path / "t.toml").read_text()))) == set(map(str, rows))
    assert [p.name for p in tmp_path.iterdir()] == ["t.toml"]
    with pytest.raises(TypeError, match="surprise"):
        parse((tmp_path / "t.toml").read_text() + "surprise = 1\n")


def test_a_row_sets_what_the_user_left_open(table: Table) -> None:
    plain = solve(steps=4)
    assert "tuned" not in plain.status
    table(row(options={"steps": 4, "eta": 0.5}, relative_time=0.4))
    result = solve()
    assert result.nfe == result.options["steps"] == 4
    assert result.options["eta"] == 0.5
    assert "; steps=4, eta=0.5: as tuned for mri (+1.0 dB in 0.4 of the time)" in result.status
    assert not torch.allclose(result.x, plain.x)


def test_the_users_value_wins(table: Table) -> None:
    table(row(options={"steps": 4, "eta": 0.5}))
    result = solve(steps=3)
    assert (result.options["steps"], result.options["eta"]) == (3, 0.5)
    assert "; eta=0.5: as tuned" in result.status
    both = solve(steps=3, eta=1.0)  # even where it is the default
    assert both.options["eta"] == 1.0
    assert "tuned" not in both.status


def test_the_table_can_be_left_aside(table: Table) -> None:
    table(row(options={"eta": 0.5}))
    result = solve(steps=3, tuned=False)
    assert result.options["eta"] == 1.0
    assert "tuned" not in result.status


@pytest.mark.parametrize(
    "planted",
    [
        row(options={"eta": 0.5}, family="ct"),
        row(options={"eta": 0.5}, prior="network"),
        row("diffpir", options={"zeta": 0.5}),
        row(options={"eta": 0.5}, noise=(0.0, 0.9 * SIGMA)),
        row(options={"eta": 0.5}, noise=(1.1 * SIGMA, 1.0)),
        row(options={"etta": 0.5}),
    ],
    ids=["family", "prior", "method", "less noise", "more noise", "unknown option"],
)
def test_a_row_of_something_else_does_not_apply(table: Table, planted: Row) -> None:
    table(planted)
    result = solve(steps=3)
    assert "etta" not in result.options
    assert result.options["eta"] == 1.0
    assert "tuned" not in result.status


def test_noise_is_relative_to_the_operator_and_the_scale(table: Table) -> None:
    """The same problem in other units has the same settings."""
    table(row(options={"eta": 0.5}, noise=(0.9 * SIGMA, 1.1 * SIGMA)))
    y = 100 * measured()
    result = invdiff.solve(y, 20.0 * mri(), prior(), "dds", sigma_y=100 * SIGMA, seed=0, scale=5.0, steps=3)
    assert result.options["eta"] == 0.5


def test_unknown_noise_and_unknown_priors_have_no_row(table: Table) -> None:
    table(row(options={"eta": 0.5}, family="inpainting", prior="gaussian"))
    op = Inpainting(torch.ones(8, 8), (1, 8, 8))
    y = op.simulate(prior().sample(1, 3), SIGMA)
    common: dict[str, Any] = {"seed": 0, "scale": 1.0, "steps": 3}
    assert invdiff.solve(y, op, prior(None), "dds", sigma_y=SIGMA, **common).options["eta"] == 0.5
    assert invdiff.solve(y, op, prior(None), "dds", **common).options["eta"] == 1.0
    assert invdiff.solve(y, op, prior("other"), "dds", sigma_y=SIGMA, **common).options["eta"] == 1.0


def test_a_users_method_is_not_taken_for_ours(table: Table) -> None:
    table(row(options={"steps": 4}))
    result = solve(method=dds, steps=3, eta=0.85)
    assert result.method == "dds"
    assert solve(method=dds).options["steps"] == 100
    with pytest.raises(ValueError, match="budget is for method='auto'"):
        solve(method=dds, budget=1.0)


@pytest.mark.parametrize(
    ("op", "family"),
    [
        (lambda: 2 * mri(), "mri"),
        (lambda: mri() @ RealToComplex((1, 8, 8)), "mri"),
        (lambda: weighted(mri(), torch.ones(1, 1, 8)), "mri"),
        (lambda: mri() @ Identity((1, 8, 8)), "mri"),
        (lambda: stack(mri(), mri()), "mri"),
        (lambda: stack(GaussianBlur(1.0, (1, 8, 8), size=3), Identity((1, 8, 8))), None),
        (lambda: Inpainting(torch.ones(8, 8), (1, 8, 8)) @ GaussianBlur(1.0, (1, 8, 8), size=3), None),
        (lambda: mri().H, None),
        (lambda: CASES["Magnitude of a scan"](), None),
    ],
)
def test_composites_are_of_the_kind_of_their_parts(op: Callable[[], Operator], family: str | None) -> None:
    assert op().family == family
