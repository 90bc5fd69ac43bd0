"""Networks fitted to one scan, through `solve`: every method, operators of every kind, batches, stop rules."""

from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import CartesianMRI, GaussianBlur, Identity, Inpainting, Operator

SIZE = 16
SHORT: dict[str, dict[str, Any]] = {
    "dip": {"iterations": 80, "channels": 8, "average": 0.2},
    "deep-decoder": {"iterations": 80, "channels": 16},
    "aseq-dip": {"iterations": 80, "lr": 1e-2, "lam": 0.1, "channels": 8, "average": 0.2},
    "self-guided-dip": {"iterations": 60, "lr": 1e-2, "draws": 2, "average": 1.0, "channels": 8},
    "sparse-dip": {"iterations": 60, "mask_iterations": 5, "sparsity": 0.3},
}


def image(batch: int = 1) -> Tensor:
    """A smooth positive image, (batch, 1, SIZE, SIZE)."""
    ramp = torch.linspace(-1, 1, SIZE)
    blob = torch.exp(-3 * (ramp[:, None] ** 2 + (ramp - 0.2) ** 2))
    return torch.stack([blob.roll(2 * b, 1) for b in range(batch)])[:, None]


OPERATORS: dict[str, Operator] = {
    "denoising": Identity((1, SIZE, SIZE)),
    "inpainting": Inpainting((torch.arange(SIZE**2).view(SIZE, SIZE) % 3 > 0).bool(), (1, SIZE, SIZE)),
    "blur": GaussianBlur(1.0, shape=(1, SIZE, SIZE)),
    "mri": CartesianMRI(torch.arange(SIZE) % 4 != 1, shape=(SIZE, SIZE)),
}


def measured(op: Operator, x: Tensor) -> Tensor:
    return op.simulate(x.to(torch.complex64) if op.complex_in else x, 0.02, seed=0)


@pytest.mark.parametrize("method", SHORT)
@pytest.mark.parametrize("name", OPERATORS)
def test_every_method_fits_every_operator(method: str, name: str) -> None:
    op = OPERATORS[name]
    y = measured(op, image())
    result = invdiff.solve(y, op, None, method, sigma_y=0.02, seed=0, **SHORT[method])
    assert result.x.shape == (1, *op.shape_in)
    assert float(torch.linalg.vector_norm(op(result.x) - y)) < 0.6 * float(torch.linalg.vector_norm(y))
    assert result.last is not None
    assert result.last.shape == result.samples.shape
    assert len(result.score) == len(result.misfit)


@pytest.mark.parametrize("method", ["dip", "aseq-dip", "sparse-dip"])
def test_a_batch_is_its_items(method: str) -> None:
    op, x = OPERATORS["inpainting"], image(2)
    y = measured(op, x)
    settings = SHORT[method] | {"iterations": 8}
    both = invdiff.solve(y, op, None, method, sigma_y=0.02, seed=3, **settings)
    first = invdiff.solve(y[:1], op, None, method, sigma_y=0.02, seed=3, **settings)
    torch.testing.assert_close(both.x[:1], first.x, rtol=1e-3, atol=1e-3)  # Adam divides by small gradients
    assert not torch.allclose(both.x[0], both.x[1])


def test_inputs_that_keep_to_the_data_let_a_fit_leave_its_first_image() -> None:
    """Behind a blur, whose gradients are small where the image is unknown; so small a `keep` makes z the output."""
    op = OPERATORS["blur"]
    y = measured(op, image())
    kept, own = (
        invdiff.solve(
            y, op, None, "aseq-dip", sigma_y=0.02, seed=0, **SHORT["aseq-dip"] | {"keep": keep, "jitter": 0.0}
        )
        for keep in (0.05, 1e-4)
    )
    assert float((kept.x - image()).norm()) < 0.9 * float((own.x - image()).norm())


def test_scaling_the_data_scales_the_image() -> None:
    op = OPERATORS["mri"]
    y = measured(op, image())
    one, many = (
        invdiff.solve(y * c, op, None, "dip", sigma_y=0.02 * c, seed=0, **SHORT["dip"] | {"iterations": 5}).x / c
        for c in (1.0, 256.0)
    )
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-5)


def test_the_chosen_image_is_not_the_last_where_noise_was_fitted() -> None:
    op, x = OPERATORS["denoising"], image()
    y = op.simulate(x, 0.3, seed=0)
    settings: dict[str, Any] = {"iterations": 300, "channels": 16, "average": 1.0, "jitter": 0.0}
    result, dense = (
        invdiff.solve(y, op, None, "dip", sigma_y=0.3, seed=0, stop=stop, **settings)
        for stop in ("discrepancy", "never")
    )
    assert result.chi2 is not None
    assert dense.chi2 is not None
    assert float(result.chi2) <= 1.01
    assert float(dense.chi2) < 0.5, "control: without a stop the network fits the noise"
    assert float((result.x - x).norm()) < 0.8 * float((dense.x - x).norm())


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (1, 3, 16)])
def test_volumes_and_slivers_are_refused_before_the_first_step(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pixels a side or more"):
        invdiff.solve(torch.ones(1, *shape), Identity(shape), None, "dip", sigma_y=0.1)
