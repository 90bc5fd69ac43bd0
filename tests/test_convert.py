"""`invdiff convert`: the same denoiser in a file of ours, whole or not at all, and nothing of the old file is run."""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from invdiff import cli, convert
from invdiff.networks.drunet import DRUNet
from invdiff.networks.edm_unet import DhariwalUNet, SongUNet
from invdiff.networks.guided_unet import GuidedUNet
from invdiff.networks.ncsnpp import NCSNpp
from invdiff.priors.checkpoints import load_prior, save_prior
from invdiff.priors.network import NetworkPrior
from invdiff.priors.prior import Prior
from tests.priors.pickles import weights, write_snapshot

LEVELS: dict[str, Any] = {"size": (16, 16), "first": 8, "widths": (8, 12), "blocks": 1}
NETWORKS: dict[str, tuple[nn.Module, list[str]]] = {
    "song": (SongUNet(in_channels=2, out_channels=2, **LEVELS), ["percentile=99", "domain=brains"]),
    "adm": (DhariwalUNet(in_channels=1, out_channels=1, **LEVELS), ["net_range=(0, 1)", "head_width=4"]),
    "coordinates": (SongUNet(in_channels=3, out_channels=1, **LEVELS), ["extent=0.8"]),
    "ncsn++": (NCSNpp(channels=1, first=8, widths=(8, 12), blocks=1), ["sigma_min=0.01", "sigma_max=300"]),
    "vp": (NCSNpp(channels=2, first=8, widths=(8, 12), blocks=1, noise="positional", block="ddpm", taps=(1, 1)), []),
    "guided": (GuidedUNet(2, 4, base=32, widths=(32, 32), blocks=1, head_width=32), ["head_width=32"]),
}


def saved(path: Path, net: nn.Module) -> Path:
    torch.save({"ema": weights(net).state_dict()}, path / "old.pt")
    return path / "old.pt"


def run(old: Path, new: Path, *settings: str) -> int:
    return cli.main(["convert", str(old), str(new), *(word for s in settings for word in ("--set", s))])


def denoised(prior: Prior) -> Tensor:
    """D of noise, for images of whatever kind the prior takes."""
    shape = (2, prior.shape[0] if prior.shape and prior.shape[0] else 1, 8, 12)
    parts = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return prior(torch.complex(parts[0], parts[1]) if prior.complex else parts[0], 0.5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_converted_prior_is_the_same_denoiser(tmp_path: Path, name: str) -> None:
    net, settings = NETWORKS[name]
    old, new = saved(tmp_path, net), tmp_path / "new.safetensors"
    assert run(old, new, *settings) == 0
    before, after = load_prior(old, **convert.parse_settings(settings)), load_prior(new)
    torch.testing.assert_close(denoised(after), denoised(before), rtol=1e-6, atol=1e-6)
    attributes = ("complex", "range", "sigma_min", "sigma_max", "percentile", "window", "shape", "domain")
    assert [getattr(after, a) for a in attributes] == [getattr(before, a) for a in attributes]
    content = json.loads(new.with_suffix(".json").read_text())
    assert content["sha256"] == hashlib.sha256(new.read_bytes()).hexdigest()
    assert content["card"]["source_sha256"] == hashlib.sha256(old.read_bytes()).hexdigest()


def test_half_is_half_as_large_and_nearly_the_same(tmp_path: Path) -> None:
    old = saved(tmp_path, NETWORKS["song"][0])
    assert run(old, tmp_path / "full.safetensors") == 0
    assert cli.main(["convert", str(old), str(tmp_path / "half.safetensors"), "--half"]) == 0
    full, half = (tmp_path / f"{name}.safetensors" for name in ("full", "half"))
    assert half.stat().st_size < 0.7 * full.stat().st_size
    error = (denoised(load_prior(half)) - denoised(load_prior(full))).norm() / denoised(load_prior(full)).norm()
    assert 1e-6 < float(error) < 1e-2


def test_a_snapshot_is_converted_and_its_source_not_run(tmp_path: Path) -> None:
    mark, net = tmp_path / "mark", weights(SongUNet(in_channels=2, out_channels=2, **LEVELS))
    old = write_snapshot(tmp_path / "network-snapshot.pkl", net, mark)
    assert run(old, tmp_path / "new.safetensors") == 0
    torch.testing.assert_close(denoised(load_prior(tmp_path / "new.safetensors")), denoised(load_prior(old)))
    assert not mark.exists()


def test_what_load_prior_refuses_is_converted_without_what_is_unsafe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = weights(SongUNet(in_channels=2, out_channels=2, **LEVELS))
    old = tmp_path / "training-state.pt"
    torch.save({"net": net, "options": argparse.Namespace(batch=4)}, old)
    with pytest.raises(ValueError, match="invdiff convert"):
        load_prior(old)
    assert run(old, tmp_path / "new.safetensors") == 0
    printed = capsys.readouterr().out
    assert "argparse.Namespace" in printed
    assert "SongUNet" in printed
    torch.save({"ema": net.state_dict()}, tmp_path / "plain.pt")
    wanted = denoised(load_prior(tmp_path / "plain.pt"))
    torch.testing.assert_close(denoised(load_prior(tmp_path / "new.safetensors")), wanted)


def test_a_prior_of_ours_keeps_its_card(tmp_path: Path) -> None:
    net = weights(DRUNet(widths=(4, 8), blocks=1, embedding=8))
    prior = NetworkPrior(net, sigma_data=0.25, complex=True)
    config = {"widths": [4, 8], "blocks": 1, "embedding": 8}
    save_prior(prior, "drunet", config, tmp_path / "old.safetensors", {"licence": "CC BY"}, half=False)
    assert run(tmp_path / "old.safetensors", tmp_path / "new.safetensors", "domain=knees") == 0
    content = json.loads((tmp_path / "new.json").read_text())
    assert (content["card"], content["domain"]) == ({"licence": "CC BY"}, "knees")
    torch.testing.assert_close(denoised(load_prior(tmp_path / "new.safetensors")), denoised(prior), rtol=0, atol=0)


def test_a_safetensors_file_of_others_needs_no_json(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = weights(SongUNet(in_channels=2, out_channels=2, **LEVELS))
    save_file(dict(net.state_dict()), tmp_path / "model.safetensors")
    assert run(tmp_path / "model.safetensors", tmp_path / "new.safetensors") == 0
    assert load_prior(tmp_path / "new.safetensors").complex


def test_existing_files_are_kept_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = saved(tmp_path, NETWORKS["song"][0]), tmp_path / "new.safetensors"
    for existing in (new, new.with_suffix(".json")):
        existing.write_text("mine")
        assert run(old, new) == 2
        assert "--force" in capsys.readouterr().err
        assert existing.read_text() == "mine"
        existing.unlink()
    new.write_text("mine")
    assert cli.main(["convert", str(old), str(new), "--force"]) == 0
    assert load_prior(new).complex


@pytest.mark.parametrize(
    ("new", "settings", "status", "sentence"),
    [
        ("new.pt", [], 2, "must end in .safetensors"),
        ("none/new.safetensors", [], 2, "does not exist"),
        ("new.safetensors", ["percentile"], 2, "OPTION=VALUE"),
        ("new.safetensors", ["percentil=99"], 1, "percentile"),
        ("new.safetensors", ["parameterisation=velocty"], 1, "velocity"),
        ("new.safetensors", ["channels=real"], 0, ""),
        ("new.safetensors", ["channels=rgb"], 1, "complex-split"),
    ],
)
def test_faults_get_a_sentence_and_leave_no_file(
    tmp_path: Path, new: str, settings: list[str], status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old = saved(tmp_path, NETWORKS["song"][0])
    assert run(old, tmp_path / new, *settings) == status
    assert sentence in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == (1 if status else 3)


def test_damaged_and_unknown_files_leave_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = saved(tmp_path, NETWORKS["song"][0]).read_bytes()
    for name, content in (("cut.pt", whole[:5000]), ("text.pt", b"hello"), ("empty.pkl", b""), ("x.onnx", b"1")):
        (tmp_path / name).write_bytes(content)
        assert run(tmp_path / name, tmp_path / "new.safetensors") == 1
        assert name in capsys.readouterr().err
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    assert run(tmp_path / "other.pt", tmp_path / "new.safetensors") == 1
    assert run(tmp_path, tmp_path / "new.safetensors") == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("new")]


def test_a_fault_while_writing_leaves_no_file(tmp_path: Path) -> None:
    net = weights(SongUNet(in_channels=2, out_channels=2, **LEVELS))
    next(net.parameters()).data.fill_(torch.nan)
    torch.save(net.state_dict(), tmp_path / "old.pt")
    assert run(tmp_path / "old.pt", tmp_path / "new.safetensors") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old.pt"]
