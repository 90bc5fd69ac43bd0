"""Pickles are read without running anything, or refused by the name of what they ask for."""

import os
import pickle
import pickletools
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invdiff.networks.edm_unet import SongUNet
from invdiff.priors.pickled_objects import Record
from invdiff.priors.pickled_tensors import read_storage
from invdiff.priors.restricted_pickle import module_tensors, read_inert, read_pickle
from tests.priors.pickles import hook, weights, write_snapshot


def net() -> SongUNet:
    made = weights(SongUNet(in_channels=2, out_channels=2, size=(8, 8), first=8, widths=(8, 8), blocks=1))
    assert isinstance(made, SongUNet)
    return made


def written(path: Path, content: Any) -> Path:
    path = path / "net.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        read_pickle(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def test_a_snapshot_is_read_in_full_and_its_source_is_not_run(tmp_path: Path) -> None:
    made, mark = net(), tmp_path / "mark"
    path = write_snapshot(tmp_path / "snapshot.pkl", made, mark)
    content = read_pickle(path)
    ema = content["ema"]
    assert (ema.kind, ema.state["_modules"]["model"].kind) == ("EDMPrecond", "SongUNet")
    assert ema.state["sigma_data"] == 0.7
    assert content["dataset_kwargs"] == {"resolution": 16}
    assert content["loss_fn"].state["P_mean"] == -1.2
    wanted = {f"model.{name}": t for name, t in made.state_dict().items()}
    found = module_tensors(ema)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
    assert not mark.exists()
    hook()
    pickle.loads(path.read_bytes())  # the source works, for those who let it run
    assert mark.exists()


def test_the_source_is_dropped(tmp_path: Path) -> None:
    content = read_pickle(write_snapshot(tmp_path / "snapshot.pkl", net(), tmp_path / "mark"))

    def words(value: Any) -> str:
        if isinstance(value, Record):
            return value.kind + words(value.state)
        if isinstance(value, dict):
            return "".join(str(key) + words(item) for key, item in value.items())
        return value if isinstance(value, str) else ""

    assert "EDMPrecond" in words(content)
    assert "open(" not in words(content)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_tensors_of_all_kinds_are_read(tmp_path: Path, protocol: int) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)
    content: dict[str, Any] = {str(kind): base.to(kind) for kind in kinds}
    content |= {"part": base[1:, ::2], "turned": base.T, "empty": torch.zeros(0, 3), "number": torch.tensor(2.0)}
    content["parameter"] = nn.Parameter(base)
    content["list"] = [1, None, "text", (True, 2.5), OrderedDict(a=np.float32(0.5))]
    path = written(tmp_path, pickle.dumps(content, protocol))
    found = read_pickle(path)
    for name, value in content.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(found[name], value.detach(), rtol=0, atol=0)
    assert found["list"] == [1, None, "text", (True, 2.5), {"a": 0.5}]


def test_payloads_are_refused_by_name_and_do_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = written(tmp_path, {"ema": {"weight": torch.zeros(2)}, "x": Payload(mark)})
    assert f"{os.system.__module__}.system" in refusal(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # the payload works, for those who let it run


ATTACKS = {
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "import": b"c__builtin__\n__import__\n(S'os'\ntR.",
    "instance of the first protocol": b"(S'1'\nicode\nInteractiveConsole\n.",
    "torch.load": b"ctorch\nload\n(S'x'\ntR.",
    "change a stand-in": b"ccollections\nOrderedDict\n}S'__init__'\nccollections\nOrderedDict\nsb.",
    "extension": b"\x82\x01.",
    "outside data": b"Pkey\n.",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(tmp_path: Path, attack: str) -> None:
    refusal(written(tmp_path, ATTACKS[attack]))


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_files_get_a_sentence(tmp_path: Path, kept: float) -> None:
    whole = write_snapshot(tmp_path / "snapshot.pkl", net(), tmp_path / "mark").read_bytes()
    refusal(written(tmp_path, whole[: int(kept * len(whole))]))
    assert not (tmp_path / "mark").exists()


def test_other_files_get_a_sentence(tmp_path: Path) -> None:
    for content in (b"<!DOCTYPE html>", b"\x89PNG\r\n", b"PK\x03\x04"):
        refusal(written(tmp_path, content))


def test_sizes_that_the_file_cannot_hold_are_refused_before_memory_is_spent(tmp_path: Path) -> None:
    """A table of 2^32 objects, a string of 2^60 bytes, a frame of as many, a tensor wider than its storage."""
    bombs = {
        "table": b"\x80\x02Nr\xff\xff\xff\xff.",
        "string": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
        "tensor": pickle.dumps(torch.zeros(1).expand(2**40)),
    }
    for bomb in bombs.values():
        assert "declares more" in (message := refusal(written(tmp_path, bomb))) or "truncated" in message


def test_a_storage_that_declares_more_than_it_holds_is_refused() -> None:
    steps = pickletools.genops(pickle.dumps(torch.zeros(4)))
    data = next(value for _, value, _ in steps if isinstance(value, bytes) and b"FloatStorage" in value)
    assert read_storage(data).numel == 4
    count = struct.pack("<Q", 4)
    for altered in (
        data[:-1],
        data.replace(count, struct.pack("<Q", 5)),
        data.replace(count, struct.pack("<Q", 2**62)),
    ):
        assert altered != data
        with pytest.raises(pickle.UnpicklingError, match="does not hold them"):
            read_storage(altered)
    with pytest.raises(pickle.UnpicklingError, match=r"torch\.OtherStorage"):
        read_storage(data.replace(b"FloatStorage", b"OtherStorage"))


def test_altered_bytes_give_a_sentence_or_are_read(tmp_path: Path) -> None:
    """Of 100 files with three wrong bytes each, none ends otherwise."""
    generator = np.random.default_rng(0)
    small = weights(SongUNet(in_channels=1, out_channels=1, size=(4, 4), first=4, widths=(4,), blocks=1))
    whole = write_snapshot(tmp_path / "snapshot.pkl", small, tmp_path / "mark").read_bytes()
    refused = 0
    for _ in range(100):
        data = bytearray(whole)
        for i in generator.integers(len(data), size=3):
            data[i] = generator.integers(256)
        try:
            read_pickle(written(tmp_path, bytes(data)))
        except ValueError:
            refused += 1
    assert 0 < refused < 100
    assert not (tmp_path / "mark").exists()


def test_shared_containers_cost_once(tmp_path: Path) -> None:
    """Forty lists, each twice the one before: 2^40 items for those who copy them."""
    nested: list[Any] = []
    for _ in range(40):
        nested = [nested, nested]
    assert len(read_pickle(written(tmp_path, nested))) == 2
    endless: list[Any] = []
    endless.append(endless)
    assert read_pickle(written(tmp_path, endless)) == [None]


def test_a_module_that_is_held_twice_is_refused(tmp_path: Path) -> None:
    shared = nn.Linear(2, 2)
    content = read_pickle(written(tmp_path, nn.ModuleDict({"a": shared, "b": shared})))
    with pytest.raises(ValueError, match="twice"):
        module_tensors(content)
    with pytest.raises(ValueError, match="no pickled network"):
        module_tensors(Record.of("EDMLoss", {}))


def test_containers_of_torch_are_records(tmp_path: Path) -> None:
    content = read_pickle(written(tmp_path, nn.ModuleDict({"a": nn.Linear(2, 3)})))
    assert (content.kind, list(module_tensors(content))) == ("ModuleDict", ["a.weight", "a.bias"])


@pytest.mark.parametrize("file", ["net.pt", "net.pkl"])
def test_what_is_not_known_may_be_left_out(tmp_path: Path, file: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / file
    content = {"state_dict": {"weight": torch.arange(3.0)}, "payload": Payload(mark), "rate": np.float64(0.5)}
    if file == "net.pt":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    found, names = read_inert(path)
    torch.testing.assert_close(found["state_dict"]["weight"], torch.arange(3.0))
    assert f"{os.system.__module__}.system" in names
    assert found["payload"].state["arguments"] == (f"touch {mark}",)
    assert not mark.exists()


def test_a_network_saved_as_an_object_gives_its_tensors(tmp_path: Path) -> None:
    made = net()
    torch.save({"net": made, "step": 3}, tmp_path / "training-state.pt")
    found, names = read_inert(tmp_path / "training-state.pt")
    assert module_tensors(found["net"]).keys() == made.state_dict().keys()
    assert any(name.endswith("SongUNet") for name in names)


def test_the_scan_agrees_with_what_python_writes() -> None:
    """Indices of the table never run ahead of the steps in honest pickles, of any protocol."""
    for protocol in range(6):
        steps = pickletools.genops(pickle.dumps([{str(i): [i]} for i in range(400)], protocol))
        assert all(int(str(v)) <= i for i, (op, v, _) in enumerate(steps) if op.name.endswith("PUT"))
