"""Checkpoints of other programs are opened without running their code, or refused in one sentence."""

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from invdiff.priors.checkpoints import load_prior
from invdiff.priors.foreign import open_foreign, read_torch
from invdiff.priors.weights import fill, state

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        load_prior(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_tensors_are_read(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "net.pt"
    torch.save({"ema": TENSORS, "step": 3}, path, _use_new_zipfile_serialization=zipped)
    torch.testing.assert_close(state(read_torch(path)), TENSORS)


@pytest.mark.parametrize("write", ["zip", "legacy", "pickle"])
def test_a_payload_does_not_run(tmp_path: Path, write: str) -> None:
    path, mark = tmp_path / "net.pt", tmp_path / "mark"
    content = {**TENSORS, "payload": Payload(mark)}
    if write == "pickle":
        path.write_bytes(pickle.dumps(Payload(mark)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "zip")
    assert "invdiff convert" in refusal(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if write != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # the payload works, for those who let it run


def test_an_object_of_another_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({**TENSORS, "options": argparse.Namespace(size=3)}, path)
    assert "argparse.Namespace" in refusal(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.98])
def test_truncated_files_are_refused(tmp_path: Path, zipped: bool, kept: float) -> None:
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "whole" in (message := refusal(path)) or "truncated" in message


def test_one_altered_bit_of_a_tensor_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.zeros(1000)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(bytes(400)) + 200] ^= 1
    path.write_bytes(data)
    assert "altered" in refusal(path)
    assert bool(torch.load(path, weights_only=True)["weight"].any())  # what torch alone says of it


def test_other_files_are_refused(tmp_path: Path) -> None:
    for text in ("<!DOCTYPE html><html>404</html>", "hello", ""):
        path = tmp_path / "net.ckpt"
        path.write_text(text)
        refusal(path)
    assert "does not exist" in refusal(tmp_path / "none.pt")


def test_networks_that_are_not_known_are_refused_with_what_is(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(TENSORS, path)
    message = refusal(path)
    assert "guided diffusion" in message
    assert "AdaptedPrior(net, parameterisation)" in message
    assert "diffusers" in refusal(tmp_path)


def test_an_unknown_suffix_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"\.ckpt"):
        load_prior("folder/net.onnx")


def test_averaged_weights_come_first_and_prefixes_go() -> None:
    raw = {"model": {"module.weight": torch.zeros(1)}, "ema": {"_orig_mod.module.weight": torch.ones(1)}, "step": 7}
    assert state(raw) == {"weight": torch.ones(1)}
    assert state({"state_dict": {"model.weight": torch.ones(1)}}) == {"weight": torch.ones(1)}
    mixed = {"model.weight": torch.ones(1), "scale": torch.ones(1)}
    assert state(mixed) == mixed
    assert state([raw]) == state({"step": 7}) == state(None) == {}


def test_a_network_is_filled_only_if_all_names_and_shapes_agree() -> None:
    wrong = {"bais": torch.ones(2), "weight": torch.ones(2, 4)}
    message = (
        r"net\.pt does not fit Linear: of 2 .* 1 missing, first bias; 1 unexpected, first bais; 1 mis-shaped, first"
    )
    with pytest.raises(ValueError, match=message):
        fill(nn.Linear(3, 2), wrong, "net.pt")
    with torch.device("meta"):
        empty = nn.Linear(3, 2)
    assert torch.equal(fill(empty, TENSORS, "net.pt").weight, TENSORS["weight"])


def test_a_filled_network_owns_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(TENSORS, path)
    net = fill(nn.Linear(3, 2), open_foreign(path).content, "net.pt")
    net.weight.data.zero_()
    torch.testing.assert_close(read_torch(path), TENSORS)
