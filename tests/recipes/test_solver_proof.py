"""A user's solver goes through `solve`, the matrix and the proof by its name; the proof goes on where it stopped."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import invdiff
from invdiff.solvers.named import method_named
from invdiff.testing_problems import problem
from invdiff.testing_solver import simulate
from tests.recipes.loading import recipe

SOLVER = '''
import torch
from invdiff.linalg import cg
from invdiff.shapes import over


def perturb_and_map(y, op, prior, *, sigma_y, noise, callback, iterations=200):
    """x' + C A^H (A C A^H + sigma_y^2)^-1 (y - y') with (x', y') from the model: exact for a Gaussian prior."""
    x = prior.sample(len(y), noise)
    miss = y - op(x) - over(sigma_y, y) * noise.like(y)
    miss = miss if op.sampled is None else torch.where(op.sampled, miss, 0)
    r = cg(lambda r: op(prior.cov(op.adjoint(r))) + over(sigma_y**2, r) * r, miss, iterations=iterations, tol=1e-6)
    x = x + prior.cov(op.adjoint(r))
    callback(0, 1, x=x)
    return x
'''


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_solver.py").write_text(SOLVER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_solver", raising=False)
    return "my_solver:perturb_and_map"


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
    status: int | None = module.main()
    return status


def test_a_name_is_solved_with(named: str) -> None:
    setting = problem("Gaussian, blur")
    _, y = simulate(setting, 2, 0)
    result = invdiff.solve(
        y, setting.op, setting.prior, method_named(named), sigma_y=setting.sigma_y, seed=0, scale=1.0, iterations=100
    )
    assert result.method == "perturb_and_map"
    assert result.chi2 is not None
    assert bool((result.chi2 < 1.5).all())


def test_a_name_takes_its_place_in_the_matrix(
    named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = recipe("matrix")
    operators = ["box inpainting, 13x17", "MRI, 3 coils", "CT, parallel"]
    assert run(matrix, monkeypatch, "--methods", "adjoint", named, "--operators", *operators) == 0
    out = capsys.readouterr().out
    assert f"| adjoint | {named} |" in out
    assert "6 cells ran, 0 were refused, 0 have a star" in out


def test_a_name_is_proved_between_the_controls(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proof, out = recipe("solver_proof"), tmp_path / "proof.json"
    problems = ["--problems", "Gaussian, inpainting", "Gaussian, MRI"]
    run(proof, monkeypatch, "--method", named, "--simulations", "16", *problems, "--out", str(out))
    lines = {line.split("|")[1].strip(): line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")}
    assert lines[named].endswith("| posterior | inpainting, MRI of 2 |")
    assert lines["exact"].endswith("| posterior | inpainting, MRI of 2 |")
    assert lines["prior only"].endswith("| posterior | none of 2 |")


def test_a_second_run_goes_on_and_other_settings_are_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof, out = recipe("solver_proof"), tmp_path / "proof.json"
    common = ["--rows", "exact", "--problems", "Gaussian, blur", "--draws", "4", "--out", str(out)]
    run(proof, monkeypatch, *common, "--simulations", "8")
    cells = json.loads(out.read_text())
    cells["exact"]["Gaussian, blur"]["gap"] = 7.0
    out.write_text(json.dumps(cells))
    run(proof, monkeypatch, *common, "--simulations", "8")
    assert json.loads(out.read_text())["exact"]["Gaussian, blur"]["gap"] == 7.0
    run(proof, monkeypatch, *common, "--simulations", "9")
    assert json.loads(out.read_text())["exact"]["Gaussian, blur"]["gap"] < 1
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ddss", "Did you mean 'dds'"),
        ("no_such_module:f", "PYTHONPATH"),
        ("math:no_such_function", "no_such_function"),
        ("math:pi", "is no function but a float"),
    ],
)
def test_names_of_nothing_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method_named(text)


def test_a_key_stays_a_key() -> None:
    assert method_named("dds") == "dds"
    assert method_named("torch:relu") is torch.relu
