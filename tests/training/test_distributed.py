"""Two processes with one batch between them are one process with that batch, to rounding."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from invdiff.training.config import Config
from invdiff.training.distributed import World
from invdiff.training.state import read_state
from invdiff.training.toml import plain
from invdiff.training.train import train
from tests.training.test_train import assert_same

ROOT = Path(__file__).parents[2]
TRAIN = """
import json, sys
import torch
torch.set_num_threads(1)
from invdiff.training.toml import make_config
from invdiff.training.train import train
outcome = train(make_config(json.loads(sys.argv[1])), None, sys.argv[2], steps=int(sys.argv[3]))
assert (outcome.report is None) == (sys.argv[4] != "0"), "only the first process reports"
"""


def two_processes(config: Config, state: Path, steps: int) -> None:
    """Train in two processes with the environment that torchrun would give them."""
    import json

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, json.dumps(plain(config)), str(state), str(steps), str(rank)],
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in running:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error


def test_two_processes_are_one_and_resume_as_one(tiny: Config, tmp_path: Path) -> None:
    train(tiny, None, tmp_path / "one.pt", steps=4)
    two_processes(tiny, tmp_path / "two.pt", 4)
    assert read_state(tmp_path / "two.pt")["cost"]["processes"] == 2
    assert_same(
        tmp_path / "one.pt", tmp_path / "two.pt", rtol=1e-3, atol=2e-5
    )  # Adam divides rounding by small numbers
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "one.pt", tmp_path / "two.pt")  # the control: sums of two processes round otherwise
    for state in ("one.pt", "two.pt"):
        train(tiny, None, tmp_path / state, steps=6)
    assert_same(tmp_path / "one.pt", tmp_path / "two.pt", rtol=1e-3, atol=2e-5)


@pytest.mark.slow
def test_torchrun_runs_the_command(tiny: Config, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(
        "[network]\nwidths = [4, 8]\nblocks = 1\nstem = 2\nembedding = 8\n"
        "[batch]\nimages = 4\nsize = 16\ncrop = 8\n[validation]\nfit = 0\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "invdiff"]
    done = subprocess.run(
        [*command, "train", str(config), "--data", tiny.data.path, "--steps", "2", "--out", "p.safetensors"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote p.safetensors") == 1
    assert read_state(tmp_path / "tiny.pt")["cost"]["processes"] == 2


def test_a_process_alone_is_a_world_of_one() -> None:
    world, net = World(torch.device("cpu")), torch.nn.Linear(1, 1)
    assert world.wrap(net) is net
    assert world.sum(2.0, 3.0) == [2.0, 3.0]
    assert world.is_first
