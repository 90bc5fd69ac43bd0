"""[A B]: one measurement of two images; soft-SENSE with it explains a folded object."""

import pytest
import torch

import invdiff
from invdiff.data.coils import espirit_sets
from invdiff.operators import CartesianMRI, Identity, row, stack
from invdiff.operators.stack import LinearStack
from tests.data.test_coils import folded
from tests.operators.cases import coil_maps, lines, random


def test_the_measurement_is_the_sum_over_images() -> None:
    a, b = (CartesianMRI(lines(8), coil_maps(3, 9, 8, seed=seed)) for seed in (1, 2))
    x = random(2, 2, 9, 8, dtype=torch.complex64)
    torch.testing.assert_close(row(a, b)(x), a(x[:, :1]) + b(x[:, 1:]))
    assert row(a, b).shape_in == (2, 9, 8)
    assert torch.equal(row(a, b).sampled, a.sampled)
    assert not bool(row(a, b).support[0, :, 0, 0].any())  # the maps are zero in that pixel
    assert float(row(a, b).estimate_sigma(a(x[:, :1]))[0]) == float(a.estimate_sigma(a(x[:, :1]))[0])


def test_the_adjoint_of_a_row_is_a_stack_of_adjoints() -> None:
    a, b = (CartesianMRI(lines(8), coil_maps(3, 9, 8, seed=seed)) for seed in (1, 2))
    down = stack(a.H, b.H)
    assert isinstance(down, LinearStack)
    y = random(1, 3, 9, 8, dtype=torch.complex64)
    torch.testing.assert_close(row(a, b).adjoint(y).flatten(1), down(y))


def test_soft_sense_reconstructs_what_one_set_of_maps_cannot() -> None:
    """Every second line of an object wider than the field of view: the two images that fold are told apart."""
    kspace, maps_of, images = folded()
    mask = torch.ones(36, dtype=torch.bool)
    mask[1:10:2] = mask[27::2] = False
    y = torch.where(mask, kspace, 0)[None]
    misfits = []
    for sets in (1, 2):
        maps = espirit_sets(torch.where(mask, kspace, 0), mask, sets)
        op = row(*(CartesianMRI(mask, one) for one in maps.split(1)))
        x = invdiff.solve(y, op, method="cg", sigma_y=1e-3, iterations=40, stop=0.0).x
        misfits.append(float((op(x) - y).norm() / y.norm()))
    assert misfits[0] > 0.1
    assert misfits[1] < 0.03
    combined, truth = x.norm(dim=1)[0], (maps_of * images[:, None]).sum(0).norm(dim=0)
    assert float((combined - truth).norm() / truth.norm()) < 0.15  # a third of the outer lines are missing


def test_methods_with_two_channels_and_priors_that_refuse_them() -> None:
    op = row(*(CartesianMRI(lines(16), coil_maps(3, 16, 16, seed=seed)) for seed in (1, 2)))
    y = op.simulate(random(1, 2, 16, 16, dtype=torch.complex64), 0.01)
    for method in ("cg", "tv", "wavelet"):
        assert invdiff.solve(y, op, method=method).x.shape == (1, 2, 16, 16)
    with pytest.raises(ValueError, match="one complex channel"):
        invdiff.solve(y, op, invdiff.load_prior("brain-mri"), method="dds", steps=2)


def test_what_does_not_fit_is_refused() -> None:
    a = CartesianMRI(lines(8), coil_maps(3, 9, 8))
    with pytest.raises(ValueError, match="one operator or more"):
        row()
    with pytest.raises(TypeError, match="linear operators"):
        row([a, a])
    with pytest.raises(ValueError, match="same measurements"):
        row(a, CartesianMRI(lines(8), coil_maps(2, 9, 8)))
    with pytest.raises(ValueError, match="same image sizes"):
        row(Identity((1, 2, 3)), Identity((1, 3, 2)))
