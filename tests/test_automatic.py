"""method="auto": the best that was measured, within the time there is, or a refusal that says why."""

from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

import invdiff
from invdiff import cli
from invdiff.data.synthetic import write_synthetic_fastmri
from invdiff.operators import GaussianBlur
from tests.operators.cases import CASES
from tests.test_tuned import FAMILIES, SIGMA, Table, measured, mri, prior, row, solve
from tests.test_tuned import table as table  # a fixture

NEVER = 10**9  # evaluations that end in no budget


def test_the_best_that_was_measured_is_chosen(table: Table) -> None:
    table(row("cg", score=21.0), row("dds", score=31.0, options={"steps": 4}), row("diffpir", score=30.0))
    result = solve(method="auto")
    assert result.method == "dds"
    assert result.nfe == 4  # with its row's options
    assert (
        "dds chosen out of 3 that fit: 31.0 dB on held-out slices (a scan), +11.0 dB over the adjoint" in result.status
    )
    named = solve(method="dds")
    assert torch.equal(result.x, named.x)


def test_a_tiny_budget_takes_a_cheaper_one(table: Table) -> None:
    table(row("cg", score=21.0), row("dds", score=31.0, evaluations=NEVER), row("tv", score=25.0, work=1e12))
    result = solve(method="auto", budget=0.1)
    assert result.method == "cg"
    assert "of 0.1 s" in result.status
    assert solve(method="auto", budget=1e12).method == "dds"


def test_more_samples_and_slower_defaults_take_longer(table: Table) -> None:
    table(row("cg", score=21.0), row("dds", score=31.0, work=1000.0, relative_time=0.5, options={"steps": 3}))
    found = [
        float(solve(method="auto", budget=1e9, num_samples=samples).status.split("expected to take ")[1].split(" s")[0])
        for samples in (1, 1000)
    ]
    assert found[1] > 20 * found[0]  # 1000 times, within the noise of timing one transform of 8 x 8 pixels


def test_no_time_at_all_is_refused(table: Table) -> None:
    table(row("dds", evaluations=NEVER), row("cg", work=1e12))
    with pytest.raises(ValueError, match=r"no method is expected to end within budget=0.001 s; \w+ comes nearest"):
        solve(method="auto", budget=1e-3)
    with pytest.raises(ValueError, match="budget must be above 0"):
        solve(method="auto", budget=0.0)


def test_without_a_prior_baselines_are_chosen_from(table: Table) -> None:
    table(row("adjoint", score=21.0), row("dds", score=31.0), row("cg", score=25.0))
    assert solve(method="auto", prior=None).method == "cg"


def test_what_nobody_measured_is_refused(table: Table) -> None:
    table(row("cg"), row("dds"))
    with pytest.raises(ValueError, match=r"nothing was for CartesianMRI with this prior. Name one that fits: sitcom"):
        solve(method="auto", prior=prior("other"))
    blur = GaussianBlur(1.0, (1, 8, 8), size=3)
    y = blur.simulate(prior(complex=False).sample(1, 3), SIGMA)
    with pytest.raises(ValueError, match=r"nothing was for GaussianBlur\. Name one that fits: adjoint, cg"):
        invdiff.solve(y, blur, None, "auto", sigma_y=SIGMA)


def test_a_prior_that_does_not_fit_is_not_passed_over(table: Table) -> None:
    table(row("cg"), row("dds"))
    with pytest.raises(ValueError, match="the prior is for real images, behind CartesianMRI the image is complex"):
        solve(method="auto", prior=prior(complex=False))


def test_options_belong_to_a_method(table: Table) -> None:
    table(row("dds"))
    with pytest.raises(TypeError, match="name a method to set steps"):
        solve(method="auto", steps=4)


def test_methods_that_do_not_fit_are_passed_over(table: Table) -> None:
    table(row("fbp", score=40.0), row("diffpir", score=35.0), row("cg", score=21.0))
    assert solve(method="auto", prior=None).method == "cg"
    assert solve(method="auto").method == "diffpir"
    op = CASES["Inpainting lines"]()
    y = op.simulate(torch.randn(1, *op.shape_in), SIGMA)  # whose noise it cannot tell
    table(row("fbp", family="inpainting", score=40.0), row("cg", family="inpainting"))
    assert invdiff.solve(y, op, None, "auto").method == "cg"
    table(row("fbp", family="inpainting"))
    with pytest.raises(ValueError, match="fbp does not work behind Inpainting"):
        invdiff.solve(y, op, None, "auto")


def test_bad_data_are_refused_as_ever(table: Table) -> None:
    table(row("cg"), row("dds"))
    with pytest.raises(ValueError, match="not finite"):
        invdiff.solve(measured() * float("nan"), mri(), prior(), "auto", sigma_y=SIGMA)
    with pytest.raises(TypeError, match="op must be an invdiff Operator"):
        invdiff.solve(measured(), "mri", prior(), "auto")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_every_operator_runs_or_is_refused_with_a_reason(table: Table, name: str) -> None:
    table(*(row(method, family=f, score=s) for f in FAMILIES for method, s in (("cg", 31.0), ("adjoint", 20.0))))
    op = CASES[name]()
    y = torch.ones(op.batch, *op.shape_out, dtype=torch.complex64 if op.complex_out else torch.float32)
    y = y if op.sampled is None else y * op.sampled
    steps: list[Any] = []
    if op.family in FAMILIES:
        assert invdiff.solve(y, op, None, "auto", sigma_y=SIGMA, callback=steps.append).method == "cg"
        assert steps
        return
    with pytest.raises(ValueError, match=r"nothing was for .* Name one that fits: "):
        invdiff.solve(y, op, None, "auto", sigma_y=SIGMA, callback=steps.append)
    assert not steps


def test_the_command_line_takes_settings_from_the_table_or_not(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = write_synthetic_fastmri(tmp_path / "scan.h5", shape=(32, 32), coils=4, slices=1, sigma=0.01)

    def status(*arguments: str) -> str:
        words = ["--acceleration", "2", "--acs", "0.4", "--out", str(tmp_path / "out.h5"), "--overwrite", *arguments]
        assert cli.main(["reconstruct", str(scan), *words]) == 0
        with h5py.File(tmp_path / "out.h5") as file:
            return str(file.attrs["status"])

    table(row("dds", prior="network", options={"steps": 2}, score=19.0), row("cg", score=22.0))
    assert "steps=2: as tuned for mri" in status("--method", "dds")
    assert "tuned" not in status("--method", "dds", "--untuned", "--set", "steps=2")
    capsys.readouterr()
    assert "cg chosen out of 2" in status("--method", "auto")
    assert "  cg " in capsys.readouterr().out
