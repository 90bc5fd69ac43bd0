"""`invdiff train`: from a file of images to a prior, and the exit status of every way to end."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from invdiff import cli
from invdiff.priors.checkpoints import load_prior
from invdiff.training.command import _duration
from invdiff.training.run import Run
from invdiff.training.state import read_state

TINY = """
name = "tiny"
[network]
widths = [4, 8]
blocks = 1
stem = 2
embedding = 8
[batch]
images = 4
size = 16
crop = 8
[averages]
every = 2
keep = 8
[validation]
images = 4
fit = 6
components = 2
rank = 2
patch = 4
patches = 200
"""


@pytest.fixture
def call(slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`invdiff train` on the discs, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY)
    return ["train", "tiny.toml", "--data", str(slices)]


def test_from_images_to_a_prior(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*call, "--steps", "8", "--out", "p.safetensors", "--set", "optimizer.lr=3e-3"]) == 0
    printed = capsys.readouterr().out
    for words in ("35 training and 5 held-out slices", "step 8", "network", "stationary Gaussian", "patch mixture"):
        assert words in printed
    assert load_prior("p.safetensors").complex
    assert all(Path(name).stat().st_size > 5000 for name in ("tiny.denoised.png", "tiny.samples.png"))
    again = ["train", "tiny.toml", "--export-only", "--ema", "0.07", "--out", "q.safetensors"]
    assert cli.main(again) == 0
    assert Path("q.safetensors").read_bytes() != Path("p.safetensors").read_bytes()
    card = Path("p.json").read_text()
    command = "invdiff train tiny.toml --seed 0 --data slices.h5 --steps 8 --set optimizer.lr=3e-3 --out p.safetensors"
    assert command in card


def written(*more: str) -> bytes | None:
    """p.safetensors after 'invdiff train' with these words; None where it was refused and nothing has changed."""
    before = {path: path.stat().st_mtime_ns for path in Path().iterdir()}
    status = cli.main(["train", "tiny.toml", "--set", "validation.fit=0", "--out", "p.safetensors", *more])
    if status == 2:
        assert {path: path.stat().st_mtime_ns for path in Path().iterdir()} == before
        return None
    assert status == 0
    return Path("p.safetensors").read_bytes()


def test_a_training_replaces_its_own_earlier_priors_only(
    call: list[str], capsys: pytest.CaptureFixture[str], slices: Path
) -> None:
    first = written(*call[2:], "--steps", "2")
    Path("two.pt").write_bytes(Path("tiny.pt").read_bytes())
    moved = ["--data", str(slices.rename(slices.with_name("moved.h5")))]
    resumed = written(*moved, "--steps", "4")
    other_width = written("--export-only", "--ema", "0.05")
    assert None not in (first, resumed, other_width)
    assert len({first, resumed, other_width}) == 3
    assert "no earlier prior" not in capsys.readouterr().err
    assert written("--export-only", "--state", "two.pt") is None, "the prior is of a later step"
    assert "no earlier prior of the training in two.pt" in capsys.readouterr().err
    other_seed = [*moved, "--state", "new.pt", "--steps", "1", "--seed", "1"]
    assert written(*other_seed) is None
    assert "p.safetensors exists already; give another --out, or --overwrite." in capsys.readouterr().err
    assert written(*other_seed, "--overwrite") is not None
    assert written(*moved, "--steps", "5") is None, "the prior is of another seed"


def test_half_a_prior_and_files_of_others_are_kept(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*call, "--set", "validation.fit=0", "--steps", "1"]) == 0
    for files in (["p.safetensors"], ["p.json"], ["p.safetensors", "p.json"]):
        for name in files:
            Path(name).write_text("{}")
        assert written(*call[2:], "--steps", "1") is None
        assert f"{files[0]} exists already" in capsys.readouterr().err
        for name in files:
            Path(name).unlink()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--set", "optimizer.learning=1", "--steps", "1"], "unknown key 'optimizer.learning'"),
        (["--steps", "1", "--out", "p.pt"], "ends in .safetensors"),
        (["--steps", "1", "--out", "none/p.safetensors"], "in a folder that exists"),
        (["--steps", "1", "--ema", "0.07"], "--ema says"),
        (["--export-only"], "needs --out"),
        ([], "how long"),
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing(
    call: list[str], extra: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(Path().iterdir())
    assert cli.main([*call, *extra]) == 2
    assert message in capsys.readouterr().err
    assert sorted(Path().iterdir()) == before


def test_unusable_data_end_with_1(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "tiny.toml", "--data", "none.h5", "--steps", "1"]) == 1
    assert "none.h5" in capsys.readouterr().err
    assert not Path("tiny.pt").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_its_status_and_a_saved_state(
    call: list[str],
    number: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    advance = Run.advance

    def signalled(self: Run, *arguments: Any) -> float:
        os.kill(os.getpid(), number)
        return advance(self, *arguments)

    monkeypatch.setattr(Run, "advance", signalled)
    assert cli.main([*call, "--max-time", "1h", "--out", "p.safetensors"]) == status
    assert "stopped at step 1; tiny.pt is saved" in capsys.readouterr().out
    assert read_state(Path("tiny.pt"))["step"] == 1
    assert not Path("p.safetensors").exists()


@pytest.mark.parametrize(("text", "seconds"), [("25m", 1500), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400)])
def test_times(text: str, seconds: float) -> None:
    assert _duration(text) == seconds


@pytest.mark.parametrize("text", ["25", "m", "-5m", "1h x", "0s", ""])
def test_other_times_are_refused(call: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*call, f"--max-time={text}"])
    assert stop.value.code == 2
    assert "25m, 90s or 1h30m" in capsys.readouterr().err
