"""With a prior that knows the image, states are that image plus white noise of their level, whatever the data's noise.

This holds for methods that fill up the noise of the data to white, in every direction: where the data are clear, where
they are faint, and where there are none.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from invdiff.diffusion.schedule import levels
from invdiff.operators import CartesianMRI, GaussianBlur, Inpainting, RealToComplex
from invdiff.operators.base import LinearOperator
from invdiff.random import streams
from invdiff.solvers import METHODS
from tests.operators.cases import coil_maps, lines, points
from tests.solvers.exact import Oracle

SIZE, DRAWS, SIGMA, STEPS = 8, 400, 0.2, 12
OPERATORS: dict[str, LinearOperator] = {
    "inpainting": Inpainting(points(SIZE, SIZE)),
    "blur": GaussianBlur(1.0, (1, SIZE, SIZE), size=7),
    "MRI": CartesianMRI(lines(SIZE), shape=(SIZE, SIZE)),
    "MRI, coils": CartesianMRI(lines(SIZE), coil_maps(2, SIZE, SIZE)),
    "MRI, real image": CartesianMRI(lines(SIZE), shape=(SIZE, SIZE)) @ RealToComplex((1, SIZE, SIZE)),
}


def deviations(method: str, name: str, told: float = 1.0) -> list[float]:
    """Of each state but the last: the largest departure from 1 of variance / sigma^2, over octants of directions.

    Directions are the eigenvectors of A^H A, sorted by eigenvalue.
    """
    op = OPERATORS[name]
    dtype = torch.complex64 if op.complex_in else torch.float32
    image = torch.linspace(-1, 1, SIZE**2).reshape(1, 1, SIZE, SIZE).to(dtype)
    y = op.simulate(image.expand(DRAWS, -1, -1, -1), SIGMA, seed=2)
    states: list[Tensor] = []

    def record(i: int, total: int, *, x: Tensor, **more: Any) -> None:
        states.append(x - image)

    noise = streams(0, DRAWS)[0]
    sigma_y = torch.full((DRAWS,), told * SIGMA)
    options: dict[str, Any] = {"steps": STEPS, "eta": 1.0, "noise": noise, "callback": record, "sigma_y": sigma_y}
    METHODS[method].function(y, op, Oracle(image), **options)
    matrix = op.normal(torch.eye(SIZE**2, dtype=dtype).reshape(-1, 1, SIZE, SIZE)).flatten(1).mT
    basis = torch.linalg.eigh(matrix)[1]
    sigmas = levels("karras", STEPS, Oracle.sigma_min, Oracle.sigma_max)[1:-1]
    parts = 2 if dtype.is_complex else 1
    out = []
    for state, sigma in zip(states, sigmas, strict=False):
        power = (state.flatten(1) @ basis.conj()).abs().square().mean(0) / parts / sigma**2
        out.append(float((power.unflatten(0, (8, -1)).mean(1) - 1).abs().max()))
    return out


CASES = [
    *(("ddnm", name) for name in OPERATORS),
    *(("ddrm", name) for name in ("inpainting", "blur", "MRI")),
]


@pytest.mark.parametrize(("method", "name"), CASES)
def test_states_are_the_image_and_white_noise(method: str, name: str) -> None:
    # 3200 values or more in an octant: a standard error of sqrt(2 / 3200) = 0.025, of which the largest of 8 x 11 stays
    # below 4; ten conjugate-gradient steps add 0.02
    assert max(deviations(method, name)) < 0.13


@pytest.mark.parametrize("method", ["ddnm", "ddrm"])
@pytest.mark.parametrize("told", [0.5, 2.0])
def test_a_noise_level_told_wrong_shows(method: str, told: float) -> None:
    assert max(deviations(method, "MRI", told)) > 0.15
