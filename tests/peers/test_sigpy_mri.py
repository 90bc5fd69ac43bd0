"""SigPy's SENSE operators and their regularised least-squares image are ours."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.peers.example import MASK, RHO, SHAPE, TRAJECTORY, Example, cartesian, distance, noncartesian

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    sigpy = pytest.importorskip("sigpy")
    mri = pytest.importorskip("sigpy.mri")

EXACT, GRIDDED = 1e-5, 2e-3  # float32; SigPy's gridding with a window of 6 on twice the grid, reading its table


def theirs(example: Example) -> "sigpy.linop.Linop":
    maps = example.maps.numpy()
    if example.y.ndim == 4:
        weights = np.broadcast_to(MASK.numpy().astype(np.float32), SHAPE)
        return mri.linop.Sense(maps, weights=weights)
    coil_images = sigpy.linop.Multiply(SHAPE, maps)
    coordinates = TRAJECTORY.flatten(0, 1).numpy()
    return sigpy.linop.NUFFT(coil_images.oshape, coordinates, oversamp=2, width=6) * coil_images


@pytest.mark.parametrize(("make", "error"), [(cartesian, EXACT), (noncartesian, GRIDDED)])
def test_forward_adjoint_and_normal(make: object, error: float) -> None:
    example: Example = make()  # type: ignore[operator]
    op, other, x, y = example.op, theirs(example), example.image, example.y
    assert distance(op(x[None, None])[0], torch.from_numpy(other(x.numpy()))) < error
    assert distance(op.adjoint(y)[0, 0], torch.from_numpy(other.H(y[0].numpy()))) < error
    assert distance(op.normal(x[None, None])[0, 0], torch.from_numpy(other.N(x.numpy()))) < error
    mirrored = op(x.flip(-1)[None, None])[0]  # negative control: an axis that runs the other way
    assert distance(mirrored, torch.from_numpy(other(x.numpy()))) > 0.1


@pytest.mark.parametrize(("make", "error"), [(cartesian, 1e-4), (noncartesian, 5e-3)])
def test_least_squares(make: object, error: float) -> None:
    """Errors of the operator are amplified by up to the condition of the problem."""
    example: Example = make()  # type: ignore[operator]
    solved = sigpy.app.LinearLeastSquares(
        theirs(example), example.y[0].numpy(), lamda=RHO, max_iter=200, tol=1e-9, show_pbar=False
    ).run()
    assert distance(example.solution(), torch.from_numpy(solved)) < error
    assert distance(example.solution(), example.image) > 0.01  # it is no copy of the truth


def test_whole_reconstruction_of_theirs() -> None:
    """SENSE as their app runs it, weights found from the data."""
    example = cartesian()
    image: Tensor = torch.from_numpy(
        mri.app.SenseRecon(example.y[0].numpy(), example.maps.numpy(), lamda=RHO, max_iter=200, show_pbar=False).run()
    )
    assert distance(example.solution(), image) < 1e-3
