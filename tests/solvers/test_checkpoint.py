"""A fit goes on from its file as if it had never stopped, and from nobody else's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import invdiff
from invdiff.operators import Identity, Inpainting
from invdiff.priors import GaussianPrior
from invdiff.result import Result
from invdiff.solvers import checkpoint
from invdiff.solvers.checkpoint import check_run, digest, read_fit
from invdiff.solvers.oes import Mask, prune

SIZE = 16
SETTINGS: dict[str, dict[str, Any]] = {
    "dip": {"channels": 8},
    "deep-decoder": {"channels": 8},
    "aseq-dip": {"channels": 8, "every": 3},
    "self-guided-dip": {"channels": 8, "draws": 2},
    "sparse-dip": {"sparsity": 0.3, "mask_iterations": 2},
}
OP = Identity((1, SIZE, SIZE))


def measured(batch: int = 1) -> Tensor:
    ramp = torch.linspace(-1, 1, SIZE)
    blob = torch.exp(-3 * (ramp[:, None] ** 2 + (ramp - 0.2) ** 2))
    return OP.simulate(torch.stack([blob.roll(2 * b, 1) for b in range(batch)])[:, None], 0.1, seed=0)


class Killed(Exception):
    """The end of a process, as far as a fit can tell."""


def run(method: str, file: Path | None, until: int | None = None, y: Tensor | None = None, **options: Any) -> Result:
    """Seven iterations; `until` is the one in which the process dies."""

    def watch(record: dict[str, Any]) -> None:
        if record["step"] == until:
            raise Killed

    settings = {"iterations": 7, "sigma_y": 0.1, "seed": 0, "progress": False} | SETTINGS[method] | options
    return invdiff.solve(measured(2) if y is None else y, OP, None, method, checkpoint=file, callback=watch, **settings)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write after every iteration."""
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("method", SETTINGS)
def test_a_resumed_fit_is_the_uninterrupted_one_to_the_bit(method: str, tmp_path: Path) -> None:
    file = tmp_path / "fit.safetensors"
    whole = run(method, None)
    with pytest.raises(Killed):
        run(method, file, until=4)
    resumed = run(method, file)
    assert resumed.last is not None
    assert whole.last is not None
    for got, wanted in ((resumed.x, whole.x), (resumed.last, whole.last), (resumed.misfit, whole.misfit)):
        assert torch.equal(got, wanted)
    assert torch.equal(resumed.score.nan_to_num(-1), whole.score.nan_to_num(-1))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("forgotten", ["adam", "noise", "z", "theta", "shown"])
def test_each_part_of_the_state_is_needed(forgotten: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a part that is not stored as it was changes the result."""
    file = tmp_path / "fit.safetensors"
    method = "self-guided-dip"
    whole = run(method, None, stop="never")
    with pytest.raises(Killed):
        run(method, file, until=4, stop="never")
    content, identity = read_fit(file)
    spoiled = {
        "adam": {k: v | {"exp_avg": torch.zeros_like(v["exp_avg"])} for k, v in content["adam"].items()},
        "noise": [torch.Generator().manual_seed(1).get_state() for _ in range(2)],
        "z": content["z"] + 0.1,
        "theta": {name: p + 0.1 for name, p in content["theta"].items()},
        "shown": content["shown"] + 0.1,
    }[forgotten]
    checkpoint.Checkpoint(file, identity).write(lambda: content | {forgotten: spoiled}, last=True)
    assert not torch.equal(run(method, file, stop="never").x, whole.x)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("stop", ["variance", "running", "discrepancy", "held-out", "never", "running+held-out"])
def test_every_stop_rule_goes_on(stop: str, tmp_path: Path) -> None:
    file = tmp_path / "fit.safetensors"
    options = {"iterations": 130, "stop": stop, "patience": 10, "y": measured()}
    whole = run("deep-decoder", None, **options)
    with pytest.raises(Killed):
        run("deep-decoder", file, until=min(115, len(whole.misfit) - 2), **options)
    resumed = run("deep-decoder", file, **options)
    assert torch.equal(resumed.x, whole.x)
    assert torch.equal(resumed.score.nan_to_num(-1), whole.score.nan_to_num(-1))


def test_a_finished_fit_is_read_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "fit.safetensors"
    first = run("dip", file)
    monkeypatch.setattr("invdiff.solvers.fit_run.Run.iterate", None)
    again = run("dip", file)
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.misfit, again.misfit)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "y": ({"y": measured(2) * 1.001}, "differs: measurement\\."),
    "seed": ({"seed": 1}, "differs: stop rule, network or mask, seed\\."),
    "option": ({"lr": 0.02}, "differs: options\\."),
    "network": ({"channels": 4}, "differs: stop rule, network or mask\\."),
    "stop": ({"patience": 9}, "differs: stop rule\\."),
    "iterations": ({"iterations": 9}, "differs: options\\."),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fit_of_another_problem_is_refused(change: str, tmp_path: Path) -> None:
    file = tmp_path / "fit.safetensors"
    run("dip", file)
    options, message = CHANGES[change]
    before = file.read_bytes()
    with pytest.raises(ValueError, match=message):
        run("dip", file, **options)
    assert file.read_bytes() == before


def test_another_operator_and_another_mask_are_refused(tmp_path: Path) -> None:
    file, y = tmp_path / "fit.safetensors", measured()
    masks = [prune("random", y, OP, seed=seed) for seed in (0, 1)]
    other = Mask(masks[1].keep, masks[0].config, masks[0].seed)
    settings: dict[str, Any] = {"iterations": 3, "seed": 0, "stop": "variance", "checkpoint": file}
    invdiff.solve(y, OP, None, "sparse-dip", mask=masks[0], **settings)
    with pytest.raises(ValueError, match="differs: network or mask\\."):
        invdiff.solve(y, OP, None, "sparse-dip", mask=other, **settings)
    halves = [torch.arange(SIZE**2).view(SIZE, SIZE) % 2 == k for k in (0, 1)]
    file = tmp_path / "other.safetensors"
    settings["checkpoint"] = file
    invdiff.solve(0 * y, Inpainting(halves[0], OP.shape_in), None, "sparse-dip", mask=other, **settings)
    with pytest.raises(ValueError, match="differs: operator\\."):
        invdiff.solve(0 * y, Inpainting(halves[1], OP.shape_in), None, "sparse-dip", mask=other, **settings)


def test_files_that_are_no_fits_are_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "fit.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="does not hold a fit"):
        run("dip", file)
    file.write_bytes(b"12345678901234567890")
    with pytest.raises(ValueError, match="cannot be read as a fit"):
        run("dip", file)
    for path in (tmp_path / "fit.pt", tmp_path / "absent" / "fit.safetensors"):
        with pytest.raises(ValueError, match=r"a checkpoint is a \.safetensors file in a folder that exists"):
            run("dip", path)


def test_the_next_slice_begins_where_the_last_ended(tmp_path: Path) -> None:
    file, slices = tmp_path / "first.safetensors", measured()
    run("dip", file, y=slices, iterations=60)
    following = 0.9 * slices.roll(1, 2)
    cold, warm = (run("dip", None, y=following, seed=9, warm=path) for path in (None, file))
    assert float(warm.misfit[0, 0, 0]) < 0.7 * float(cold.misfit[0, 0, 0])
    with pytest.raises(ValueError, match="cannot be begun with"):
        run("dip", None, y=following, channels=4, warm=file)
    with pytest.raises(ValueError, match="cannot be begun with"):
        run("dip", None, y=measured(2), warm=file)
    both = tmp_path / "second.safetensors"
    begun = run("dip", both, y=following, seed=9, warm=file)
    assert torch.equal(begun.x, run("dip", both, y=following, seed=9, warm=file).x), "and can be resumed itself"


def test_a_seed_is_needed_and_one_run(tmp_path: Path) -> None:
    file = tmp_path / "fit.safetensors"
    with pytest.raises(ValueError, match="needs a seed"):
        run("dip", file, seed=None)
    with pytest.raises(ValueError, match="Run them one by one"):
        check_run(file, 0, 2)
    check_run(None, None, 2)


def test_a_digest_sees_every_value() -> None:
    base = digest({"a": torch.zeros(2), "b": [1, None]})
    assert base == digest({"a": torch.zeros(2), "b": [1, None]})
    others = [{"a": torch.tensor([0.0, -0.0]), "b": [1, None]}, {"a": torch.zeros(2), "b": [2, None]}]
    others += [{"a": torch.zeros(2, dtype=torch.complex64), "b": [1, None]}, {"a": torch.zeros(1, 2), "b": [1, None]}]
    assert len({base, *map(digest, others)}) == 5


@pytest.mark.usefixtures("always")
def test_udig_dip_goes_on_with_its_levels_and_refuses_another_prior(tmp_path: Path) -> None:
    priors = [GaussianPrior.stationary(torch.zeros(1, SIZE, SIZE), torch.full((1, SIZE, SIZE), v)) for v in (1.0, 0.1)]
    settings: dict[str, Any] = {"rounds": 4, "every": 3, "channels": 8, "steps": 6, "seed": 0, "sigma_y": 0.1}
    file, y = tmp_path / "fit.safetensors", measured()

    def die(record: dict[str, Any]) -> None:
        if record["step"] == 8:
            raise Killed

    whole = invdiff.solve(y, OP, priors[0], "udig-dip", **settings)
    with pytest.raises(Killed):
        invdiff.solve(y, OP, priors[0], "udig-dip", checkpoint=file, callback=die, **settings)
    with pytest.raises(ValueError, match="as with another prior"):
        invdiff.solve(y, OP, priors[1], "udig-dip", checkpoint=file, **settings)
    with pytest.raises(ValueError, match="differs: options\\."):
        invdiff.solve(y, OP, priors[0], "udig-dip", checkpoint=file, sigma_last=0.9, **settings)
    assert torch.equal(invdiff.solve(y, OP, priors[0], "udig-dip", checkpoint=file, **settings).x, whole.x)
