"""Augmentations keep what they promise: place and brightness, magnitude under phase, rows that ignore each other."""

import math
from dataclasses import replace

import pytest
import torch

from invdiff.networks.drunet import coordinate_grid
from invdiff.training.augment import Pose, contrast, coordinates, draw_pose, resample, smooth_phase, turn_phase
from invdiff.training.config import Augment
from invdiff.training.draws import Draws

STILL = Augment(rotation=0.0, quarter_turns=False, flip=False)


def disc(height: int = 64, width: int = 64, radius: float = 20, y0: float = 0, x0: float = 0) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    return ((y - y0) ** 2 + (x - x0) ** 2 < radius**2).float()[None]


def middle(x: torch.Tensor) -> torch.Tensor:
    """(column, row) of the centre of mass, from the middle of the image."""
    n = x.shape[-1]
    line = torch.arange(float(n)) - (n - 1) / 2
    total = x.sum((1, 2, 3))
    return torch.stack([(x.sum((1, 2)) * line).sum(1), (x.sum((1, 3)) * line).sum(1)], 1) / total[:, None]


@pytest.mark.parametrize("shape", [(64, 64), (64, 51), (40, 64)])
def test_a_centred_disc_keeps_its_place_and_its_area_scales(shape: tuple[int, int]) -> None:
    u = [disc(*shape, radius=15)] * 8
    pose = draw_pose(Draws((0,), 8), Augment(), 32, (0.5, 0.5), 0.0)
    out = resample(u, pose)
    area = out.sum((1, 2, 3))
    torch.testing.assert_close(area, torch.full((8,), float(u[0].sum()) / 4), rtol=0.02, atol=0)  # edge pixels
    torch.testing.assert_close(middle(out), torch.zeros(8, 2), rtol=0, atol=0.05)


def test_without_any_change_an_image_comes_back() -> None:
    u = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(0))
    pose = Pose(torch.eye(2)[None], torch.zeros(1, 2), 12, 1)
    torch.testing.assert_close(resample([u], pose)[0], u, rtol=0, atol=1e-5)


def test_poses_are_a_flip_or_a_turn() -> None:
    """A disc off the centre lands at the same distance from it, in all eight poses."""
    u = [disc(radius=6, y0=16, x0=8)] * 200
    out = middle(resample(u, draw_pose(Draws((0,), 200), replace(STILL, quarter_turns=True, flip=True), 64, (1, 1), 0)))
    torch.testing.assert_close(out.norm(dim=1), torch.full((200,), math.hypot(16, 8)), rtol=0.01, atol=0)
    assert len({tuple(row) for row in out.round().int().tolist()}) == 8
    still = middle(resample(u[:20], draw_pose(Draws((0,), 20), STILL, 64, (1, 1), 0)))
    torch.testing.assert_close(still, torch.tensor([[8.0, 16.0]]).expand(20, 2), rtol=0, atol=0.05)


def test_images_of_several_sizes_share_a_batch() -> None:
    u = [disc(64, 64, 12), disc(40, 50, 12), disc(64, 64, 12)]
    pose = draw_pose(Draws((0,), 3), STILL, 32, (0.5, 0.5), 0.0)
    together = resample(u, pose)
    for i in range(3):
        alone = resample([u[i]], Pose(pose.turn[i : i + 1], pose.centre[i : i + 1], 32, pose.oversample))
        torch.testing.assert_close(together[i], alone[0])


def test_coordinates_tell_where_a_crop_was_cut() -> None:
    """A full image of coordinates, cropped, holds the coordinates that the crop is told."""
    full = 16
    u = coordinate_grid(full, full)[0]
    pose = Pose(torch.eye(2).expand(5, 2, 2), 2 * Draws((0,), 5).uniform(-0.4, 0.4, 2), 8, 1)
    told, seen = coordinates(pose, full), resample([u] * 5, pose)
    torch.testing.assert_close(told, seen, rtol=0, atol=1e-5)
    whole = coordinates(replace(pose, size=full), full)
    torch.testing.assert_close(whole, coordinate_grid(full, full).expand(5, -1, -1, -1))


@pytest.mark.parametrize("channels", [1, 2])
def test_contrast_keeps_zero_and_phase(channels: int) -> None:
    u = torch.randn(6, channels, 9, 8, generator=torch.Generator().manual_seed(0))
    u[:, :, 0] = 0
    out = contrast(u, Draws((0,), 6), Augment())
    assert bool((out[:, :, 0] == 0).all())
    ratio = (out / u)[:, :, 1:]
    assert bool((ratio > 0).all())
    torch.testing.assert_close(ratio[:, :1].expand_as(ratio), ratio)


def test_contrast_follows_its_ranges() -> None:
    u = torch.full((500, 1, 4, 4), 0.5)
    gain = contrast(u, Draws((0,), 500), Augment(gamma=0.0, bias=0.0, gain=(-0.1, 0.2)))[:, 0, 0, 0] / 0.5
    assert float(gain.log().min()) == pytest.approx(-0.1, abs=0.01)
    assert float(gain.log().max()) == pytest.approx(0.2, abs=0.01)
    gamma = contrast(u, Draws((0,), 500), Augment(gamma=0.3, bias=0.0, gain=(0.0, 0.0)))[:, 0, 0, 0].log() / math.log(
        0.5
    )
    assert float(gamma.log().abs().max()) == pytest.approx(0.3, abs=0.01)


def test_phase_changes_no_magnitude_and_some_images_not_at_all() -> None:
    m = torch.rand(64, 1, 9, 8, generator=torch.Generator().manual_seed(0))
    phase = smooth_phase(Draws((0,), 64), (9, 8))
    out = turn_phase(m, phase)
    torch.testing.assert_close(torch.linalg.vector_norm(out, dim=1, keepdim=True), m)
    left = (phase == 0).flatten(1).all(1)
    assert 1 <= int(left.sum()) <= 20  # 8 of 64 on average
    again = torch.view_as_complex(turn_phase(out, phase).movedim(1, -1).contiguous())
    torch.testing.assert_close(again, torch.polar(m, 2 * phase)[:, 0], rtol=1e-4, atol=1e-5)
