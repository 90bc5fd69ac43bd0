"""Copies are found in any pose and any brightness; what only looks alike is not taken for one."""

import pytest
import torch
from torch import Tensor

from invdiff.memorisation import POSES, nearest_slices, posed


def slices(n: int = 12, side: int = 40, seed: int = 0) -> Tensor:
    """Random smooth images, each without symmetry, (n, side, side) uint8."""
    coarse = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    return (255 * fine[:, 0]).byte()


@pytest.mark.parametrize("pose", range(POSES))
def test_a_copy_is_found_in_every_pose(pose: int) -> None:
    known = slices()
    image = posed(known[7].float() / 100, pose)
    phase = torch.rand(40, 40, generator=torch.Generator().manual_seed(1))
    found = nearest_slices(torch.polar(image, 6 * phase)[None, None], known)
    assert found.index.tolist() == [7]
    assert float(found.correlation) == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(posed(known[7].float() / 100, int(found.pose)), image)


def test_each_image_has_its_own_answer_on_other_grids() -> None:
    known = slices(side=96)
    images = torch.nn.functional.interpolate(known[[3, 0, 9], None].float(), size=(48, 48), mode="area")
    found = nearest_slices(images, known)
    assert found.index.tolist() == [3, 0, 9]
    assert float(found.correlation.min()) > 0.999


def test_other_images_correlate_less() -> None:
    found = nearest_slices(slices(20, seed=5)[:, None].float(), slices(seed=0))
    assert float(found.correlation.max()) < 0.9


def test_negative_values_count_in_real_images_only() -> None:
    known = slices().float()
    centred = (known - known.mean())[:1, None]
    assert float(nearest_slices(centred, known).correlation) == pytest.approx(1.0, abs=1e-5)
    assert float(nearest_slices(centred + 0j, known).correlation) < 0.99


def test_constant_images_correlate_with_nothing() -> None:
    assert float(nearest_slices(torch.ones(1, 1, 40, 40), slices()).correlation) == 0


@pytest.mark.parametrize(
    ("images", "known"),
    [
        (torch.ones(1, 2, 9, 9), slices()),
        (torch.ones(1, 9, 9), slices()),
        (torch.ones(1, 1, 9, 9), slices()[0]),
        (torch.ones(1, 1, 9, 9), slices()[:0]),
    ],
)
def test_shapes_are_refused(images: Tensor, known: Tensor) -> None:
    with pytest.raises(ValueError, match="images must be"):
        nearest_slices(images, known)
