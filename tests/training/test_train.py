"""Training: it learns, it resumes to the bit, its pieces keep what they promise."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from invdiff.networks import build
from invdiff.training.augment import complex_channels, geometry, smooth_phase
from invdiff.training.ema import PowerEMA
from invdiff.training.slices import read_slices
from invdiff.training.train import Config, make_batch, train

NETWORK = {"widths": [4, 8], "blocks": 1, "stem": 2, "embedding": 8}
CONFIG = Config(NETWORK, size=16, crop=8, batch=2, warmup=2, lr=3e-3)


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Discs of random place and size, uint8, in the layout of a training file."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    discs = [
        200 * ((y - generator.uniform(10, 22)) ** 2 + (x - generator.uniform(10, 22)) ** 2 < generator.uniform(20, 80))
        for _ in range(24)
    ]
    path = tmp_path / "slices.h5"
    with h5py.File(path, "w") as file:
        file["train/images"] = np.stack(discs[:16]).astype(np.uint8)
        file["val/images"] = np.stack(discs[16:]).astype(np.uint8)
    return path


def test_training_lowers_the_validation_error(slices: Path, tmp_path: Path) -> None:
    reports: list[dict] = []
    train(slices, tmp_path / "a.pt", CONFIG, max_steps=1, report_every=0, on_report=reports.append)
    train(slices, tmp_path / "a.pt", CONFIG, max_steps=150, report_every=1e9, on_report=reports.append)
    train(slices, tmp_path / "a.pt", CONFIG, max_steps=151, report_every=0, on_report=reports.append)
    before, after = reports[0]["psnr"], reports[-1]["psnr"]
    assert all(after[s] > before[s] for s in ("0.2", "0.4", "0.6", "1.2"))
    log = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [r["step"] for r in reports]


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(slices: Path, tmp_path: Path) -> None:
    whole = train(slices, tmp_path / "whole.pt", CONFIG, max_steps=6)
    train(slices, tmp_path / "parts.pt", CONFIG, max_steps=3)
    parts = train(slices, tmp_path / "parts.pt", CONFIG, max_steps=6)
    for a, b in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_configuration_does_not_continue_a_state(slices: Path, tmp_path: Path) -> None:
    train(slices, tmp_path / "a.pt", CONFIG, max_steps=1)
    with pytest.raises(ValueError, match="another configuration"):
        train(slices, tmp_path / "a.pt", Config(NETWORK, size=16, crop=8, batch=3), max_steps=2)


def test_training_leaves_the_global_generator_alone(slices: Path, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train(slices, tmp_path / "a.pt", CONFIG, max_steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_missing_part_is_named(slices: Path) -> None:
    with pytest.raises(ValueError, match="test/images"):
        read_slices(slices, "test")


def test_batches_alternate_between_full_images_and_crops(slices: Path) -> None:
    data, generator = read_slices(slices, "train"), torch.Generator().manual_seed(0)
    assert make_batch(data, CONFIG, 1, generator).shape == (2, 2, 16, 16)
    assert make_batch(data, CONFIG, 2, generator).shape == (8, 2, 8, 8)


def test_geometry_keeps_a_centred_disc_and_its_brightness() -> None:
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    disc = (y**2 + x**2 < 20**2).float()[None, None].repeat(8, 1, 1, 1)
    out = geometry(disc, 32, (0.5, 0.5), torch.Generator().manual_seed(0), shift=0.0)
    area = out.sum((1, 2, 3))  # half the size: a quarter of the area
    torch.testing.assert_close(area, torch.full((8,), float(disc[0].sum()) / 4), rtol=0.02, atol=0)  # edge pixels
    middle = (out * torch.arange(32.0)).sum((1, 2, 3)) / area
    torch.testing.assert_close(middle, torch.full((8,), 15.5), rtol=0, atol=0.05)


def test_phase_changes_no_magnitude() -> None:
    m = torch.rand(3, 1, 9, 8, generator=torch.Generator().manual_seed(0))
    channels = complex_channels(m, smooth_phase(m.shape, torch.Generator().manual_seed(1)))
    torch.testing.assert_close(torch.hypot(channels[:, :1], channels[:, 1:]), m)


def test_power_ema_weighs_steps_as_its_formula() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    ema = PowerEMA(net, gamma=6.94)
    values = [1.0, 2.0, 5.0]
    for step, value in enumerate(values, 1):
        net.weight.data.fill_(value)
        ema.update(net, step)
    weights = torch.ones(3, dtype=torch.float64)
    for t in (2, 3):
        beta = (1 - 1 / t) ** 7.94
        weights[: t - 1] *= beta
        weights[t - 1] *= 1 - beta
    assert float(ema.net.weight) == pytest.approx(float((weights * torch.tensor(values)).sum()), rel=1e-5)


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(ValueError, match="drunet"):
        build("unet", {})
