"""ESPIRiT finds the maps that made the data, up to a phase per pixel, and agrees with SigPy's."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from invdiff.data.coils import espirit, simulate_maps
from invdiff.data.masks import calibration_region, cartesian_mask
from invdiff.data.phantom import head_phantom
from invdiff.data.synthetic import centred_fft2, coil_images
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


def test_agreement_with_sigpy() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        app = pytest.importorskip("sigpy.mri.app")
    kspace, object_ = measured((64, 54), 6, sigma=2e-3)
    theirs = torch.from_numpy(app.EspiritCalib(kspace.numpy(), crop=0.9, max_iter=300, show_pbar=False).run())
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
