"""Maps are those that made the data, up to a phase per pixel; ESPIRiT agrees with SigPy's."""

import math
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from invdiff.data.coil_ratios import body_coil_maps, low_resolution_maps
from invdiff.data.coils import espirit, espirit_sets, simulate_maps
from invdiff.data.kspace import open_kspace
from invdiff.data.masks import calibration_region, cartesian_mask
from invdiff.data.phantom import head_phantom, smooth_phase
from invdiff.data.synthetic import centred_fft2, centred_ifft2, coil_images
from invdiff.random import streams


def measured(shape: tuple[int, int], coils: int, sigma: float = 1e-4) -> tuple[Tensor, Tensor]:
    """k-space and where its object is."""
    kspace = centred_fft2(coil_images(shape, coils, 1))
    noise, _ = streams(0, 1)
    return kspace + sigma * noise.like(kspace[None])[0], head_phantom(shape, 1) > 0.05


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """|<a, b>| of two unit vectors over coils, per pixel."""
    return (a.conj() * b).sum(0).abs()


@pytest.mark.parametrize(("shape", "coils"), [((64, 54), 6), ((63, 55), 4)])
def test_maps_are_recovered(shape: tuple[int, int], coils: int) -> None:
    kspace, object_ = measured(shape, coils)
    maps, truth = espirit(kspace), simulate_maps(coils, shape, 1)
    support = maps.abs().sum(0) > 0
    assert float(support[object_].float().mean()) > 0.98
    # kernels of 6 and a block of 24 resolve these maps to a few parts in a thousand in amplitude
    assert float(likeness(maps, truth)[support & object_].min()) > 0.998
    assert float(likeness(maps, truth)[support & object_].mean()) > 0.9998
    norm = torch.linalg.vector_norm(maps, dim=0)
    torch.testing.assert_close(norm[support], torch.ones_like(norm[support]), rtol=1e-5, atol=0)


def test_maps_explain_the_coil_images() -> None:
    kspace, _ = measured((60, 48), 5)
    maps, images = espirit(kspace), coil_images((60, 48), 5, 1)
    residual = images - maps * (maps.conj() * images).sum(0)
    inside = maps.abs().sum(0) > 0
    assert float(residual[:, inside].norm() / images[:, inside].norm()) < 0.01


def sigpy_maps(kspace: Tensor, crop: float) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sigpy.mri.app import EspiritCalib
    return torch.from_numpy(EspiritCalib(kspace.numpy(), crop=crop, max_iter=300, show_pbar=False).run())


def test_agreement_with_sigpy() -> None:
    kspace, object_ = measured((64, 54), 6, sigma=2e-3)
    theirs = sigpy_maps(kspace, crop=0.9)
    ours = espirit(kspace)
    both = (ours.abs().sum(0) > 0) & (theirs.abs().sum(0) > 0)
    assert float(both[object_].float().mean()) > 0.95
    assert float(likeness(ours, theirs)[both].min()) > 0.999
    # negative control: conjugated maps, the commonest mistake, do not pass
    assert float(likeness(ours.conj(), theirs)[both].mean()) < 0.99


def test_only_calibration_lines_are_read_and_scale_is_free() -> None:
    kspace, _ = measured((64, 54), 4)
    mask = cartesian_mask(54, 3, 14, seed=2)
    under = torch.where(mask, kspace, torch.zeros_like(kspace))
    rows, columns = calibration_region(mask, (64, 54))
    only = torch.full_like(kspace, complex("nan"))
    only[:, rows, columns] = kspace[:, rows, columns]
    maps = espirit(under, mask)
    assert torch.equal(maps, espirit(only, mask))
    torch.testing.assert_close(espirit(1e-6 * under, mask), maps, rtol=1e-3, atol=1e-4)
    likeness_ = likeness(maps, simulate_maps(4, (64, 54), 1))[maps.abs().sum(0) > 0]
    assert float(likeness_.quantile(0.1)) > 0.99


def test_a_lost_point_near_the_centre_costs_its_patches_alone() -> None:
    kspace, object_ = measured((64, 54), 4)
    mask, truth = cartesian_mask(54, 3, 14, seed=2), simulate_maps(4, (64, 54), 1)
    for place in ((32, 27), (34, 28), (36, 31)):
        lost = torch.zeros(64, 54, dtype=torch.bool)
        lost[place] = True
        left = mask & ~lost
        maps = espirit(torch.where(left, kspace, 0), left, lost=lost)
        support = maps.abs().sum(0) > 0
        assert float(support[object_].float().mean()) > 0.98
        assert float(likeness(maps, truth)[support].quantile(0.1)) > 0.99
    # negative control: of the last, the block that ends before the point is 8 x 8 and finds a fifth of the object
    assert float((espirit(torch.where(left, kspace, 0), left).abs().sum(0) > 0)[object_].float().mean()) < 0.5


def test_a_block_without_a_whole_patch_is_refused() -> None:
    kspace, _ = measured((64, 54), 4)
    lost = torch.zeros(64, 54, dtype=torch.bool)
    lost[::5, ::5] = True
    with pytest.raises(ValueError, match="25 points of the calibration block have no value"):
        espirit(torch.where(lost, 0, kspace), ~lost, lost=lost)


def test_phase_is_smooth_and_deterministic() -> None:
    kspace, object_ = measured((64, 54), 6)
    maps = espirit(kspace)
    assert torch.equal(maps, espirit(kspace))
    inside = object_[:, 1:] & object_[:, :-1] & (maps[:, :, 1:] != 0).any(0) & (maps[:, :, :-1] != 0).any(0)
    step = (maps[:, :, 1:] - maps[:, :, :-1]).norm(dim=0)[inside]
    assert float(step.max()) < 0.5  # a jump of phase by pi would be 2


def test_empty_background_is_cropped() -> None:
    kspace, _ = measured((64, 54), 6)
    support = espirit(kspace).abs().sum(0) > 0
    assert not bool(support[:3, :3].any())
    assert not bool(support[-3:, -3:].any())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda k: (k.abs(), None), "must be complex"),
        (lambda k: (k[0], None), "must be complex"),
        (lambda k: (0 * k, None), "all zero"),
        (lambda k: (k * torch.nan, None), "not finite"),
        (lambda k: (k, torch.ones(5)), "must be"),
        (lambda k: (k, cartesian_mask(54, 8, 4)), "smaller than the kernel 6"),
    ],
)
def test_refusals(change: object, match: str) -> None:
    kspace, _ = measured((64, 54), 2)
    with pytest.raises(ValueError, match=match):
        espirit(*change(kspace))  # type: ignore[operator]


@pytest.mark.parametrize(("coils", "shape"), [(1, (16, 16)), (8, (33, 20)), (32, (20, 31))])
def test_simulated_maps(coils: int, shape: tuple[int, int]) -> None:
    maps = simulate_maps(coils, shape, 3)
    assert maps.shape == (coils, *shape)
    assert maps.dtype == torch.complex64
    torch.testing.assert_close(maps.abs().square().sum(0), torch.ones(shape), rtol=1e-5, atol=0)
    assert torch.equal(maps, simulate_maps(coils, shape, 3))
    if coils > 1:
        assert not torch.allclose(maps, simulate_maps(coils, shape, 4))


def test_each_loop_is_strongest_at_its_own_edge() -> None:
    power = simulate_maps(8, (64, 64), 0).abs().square()
    y, x = torch.meshgrid(-(torch.arange(64.0) - 31.5), torch.arange(64.0) - 31.5, indexing="ij")
    for i in range(8):
        centre = torch.atan2((power[i] * y).sum(), (power[i] * x).sum())
        off = (float(centre) - 2 * math.pi * i / 8 + math.pi) % (2 * math.pi) - math.pi
        assert abs(off) < 0.5 * math.pi / 8 + 0.3


def test_no_coils_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one coil"):
        simulate_maps(0, (8, 8))


def folded(coils: int = 6, shape: tuple[int, int] = (80, 36)) -> tuple[Tensor, Tensor, Tensor]:
    """k-space of every second line of an object twice as wide as the field of view, the maps, the images."""
    h, w = shape
    maps, images = simulate_maps(coils, (h, 2 * w), 1), head_phantom((h, 2 * w), 1).to(torch.complex64)
    kspace = 2**0.5 * centred_fft2(maps * images)[..., w % 2 :: 2]  # the centre line is one of them
    pair = torch.stack([maps.roll(w // 2 + s * w, -1)[..., :w] for s in (0, 1)])
    return kspace, pair, torch.stack([images.roll(w // 2 + s * w, -1)[..., :w] for s in (0, 1)])


def test_two_sets_explain_a_folded_object_and_one_does_not() -> None:
    kspace, true_maps, true_images = folded()
    coil_images = centred_ifft2(kspace)
    torch.testing.assert_close(coil_images, (true_maps * true_images[:, None]).sum(0), rtol=1e-4, atol=1e-5)
    left = []
    for sets in (1, 2):
        maps = espirit_sets(kspace, sets=sets)
        assert maps.shape == (sets, 6, 80, 36)
        images = torch.einsum("mchw,chw->mhw", maps.conj(), coil_images)  # sets are orthonormal over coils
        rest = coil_images - (maps * images[:, None]).sum(0)
        left.append(float(rest.norm() / coil_images.norm()))
    assert left[0] > 0.1  # what folds is lost with one set
    assert left[1] < 0.02
    gram = torch.einsum("mchw,nchw->mnhw", maps.conj(), maps)
    assert float(gram[0, 1].abs().max()) < 1e-4
    assert torch.equal(maps[0], espirit(kspace))


def test_second_sets_are_empty_where_nothing_folds() -> None:
    kspace, _ = measured((64, 54), 6)
    first, second = espirit_sets(kspace)
    assert float((first.abs().sum(0) > 0).float().mean()) > 0.4
    assert float((second.abs().sum(0) > 0).float().mean()) < 0.01
    with pytest.raises(ValueError, match="1 to 6 sets"):
        espirit_sets(kspace, sets=7)


def test_a_lower_threshold_keeps_more_of_the_border() -> None:
    kspace, _ = measured((64, 54), 6)
    covered = [float((espirit(kspace, crop=crop).abs().sum(0) > 0).float().mean()) for crop in (0.5, 0.9, 0.99)]
    assert covered[0] > covered[1] > covered[2] > 0.1


@pytest.mark.parametrize("kind", ["low-resolution", "body-coil"])
def test_maps_by_division_are_those_that_made_the_data(kind: str) -> None:
    kspace, object_ = measured((64, 54), 6)
    body = centred_fft2(head_phantom((64, 54), 1) * torch.tensor([1.0, 0.5j])[:, None, None])
    maps = low_resolution_maps(kspace) if kind == "low-resolution" else body_coil_maps(kspace, body)
    support = (maps.abs().sum(0) > 0) & object_
    assert float(support[object_].float().mean()) > 0.95
    # a block of 32 of 64 lines: maps next to an edge mix what lies within two pixels
    assert float(likeness(maps, simulate_maps(6, (64, 54), 1))[support].mean()) > 0.999
    torch.testing.assert_close(torch.linalg.vector_norm(maps, dim=0)[support], torch.ones(int(support.sum())))
    assert not bool((maps[:, ~object_] != 0).any(0)[:3].any())
    wrong = maps.roll(5, -1)  # negative control: maps that are five pixels off do not pass
    assert float(likeness(wrong, simulate_maps(6, (64, 54), 1))[support].mean()) < 0.999


def test_body_coil_maps_take_the_phase_of_the_array_relative_to_the_body_coil() -> None:
    kspace, object_ = measured((64, 54), 6)
    phase = torch.polar(torch.ones(64, 54), smooth_phase((64, 54), 1))
    body = centred_fft2((head_phantom((64, 54), 1) * phase)[None])
    maps, truth = body_coil_maps(kspace, body), simulate_maps(6, (64, 54), 1)
    inside = object_ & (maps.abs().sum(0) > 0)
    assert float((maps - truth)[:, inside].abs().mean()) < 0.01  # no phase per pixel is free here


def test_maps_by_division_read_calibration_lines_alone() -> None:
    kspace, _ = measured((64, 54), 4)
    mask = cartesian_mask(54, 3, 14, seed=2)
    rows, columns = calibration_region(mask, (64, 54))
    only = torch.full_like(kspace, complex("nan"))
    only[:, rows, columns] = kspace[:, rows, columns]
    assert torch.equal(low_resolution_maps(only, mask), low_resolution_maps(torch.where(mask, kspace, 0), mask))
    assert torch.equal(body_coil_maps(only, kspace[:1], mask), body_coil_maps(kspace, kspace[:1], mask))
    with pytest.raises(ValueError, match="body coil is"):
        body_coil_maps(kspace, kspace[:1, 1:])


@pytest.mark.parametrize("name", ["brain_t1_7ch", "phantom_gre_16ch", "brain_8ch_poisson"])
def test_agreement_with_sigpy_on_measured_scans(data_folder: Path, name: str) -> None:
    """Correlation over coils of every pixel, up to a phase, and the same support."""
    file = open_kspace(data_folder / "kspace" / f"{name}.h5")
    kspace, mask = file.kspace(0), file.sampling(0)
    theirs = sigpy_maps(kspace, crop=0.9)
    ours = espirit(kspace, mask, kernel=6)
    seen = [maps.abs().sum(0) > 0 for maps in (ours, theirs)]
    assert float((seen[0] == seen[1]).float().mean()) > 0.999  # eigenvalues at the threshold may round either way
    both = seen[0] & seen[1]
    assert float(both.float().mean()) > 0.3
    assert float(likeness(ours, theirs)[both].min()) > 0.999
