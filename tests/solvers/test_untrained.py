"""Networks fitted to one scan, through `solve`: every method, operators of every kind, batches, stop rules."""

from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.networks.deep_decoder import DeepDecoder
from invdiff.operators import CartesianMRI, GaussianBlur, Identity, Inpainting, Operator
from invdiff.random import streams
from invdiff.solvers.oes import prune
from invdiff.solvers.problem import Problem
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Never, forgetting

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


def test_every_item_has_a_network_of_its_own_and_depends_on_no_other() -> None:
    op, x = OPERATORS["inpainting"], image(2)
    y = measured(op, x)
    settings = SHORT["dip"] | {"iterations": 4}
    alike, mixed = (invdiff.solve(data, op, None, "dip", sigma_y=0.02, seed=3, **settings).x for data in (y[[1, 1]], y))
    assert not torch.allclose(alike[0], alike[1], atol=1e-2), "the same data, another network"
    assert torch.equal(alike[1], mixed[1])
    drawn = Replicas(DeepDecoder(1, (8, 8), 4, 1), streams(3, 2)[0].generators, y.device).parameters
    assert all(not torch.equal(*p) for p in drawn.values() if p.ndim > 2), "two first networks"


@pytest.mark.parametrize("method", ["dip", "deep-decoder", "sparse-dip"])
def test_what_a_rule_holds_out_does_not_reach_the_fit(method: str) -> None:
    """With its sign turned, which leaves the brightness alone; control: where nothing is held out it matters."""
    op = OPERATORS["denoising"]
    y = measured(op, image())
    fitted = torch.arange(SIZE**2).view(1, 1, SIZE, SIZE) % 5 > 0
    other = torch.where(fitted, y, -y)
    settings = SHORT[method] | {"iterations": 4}
    if method == "sparse-dip":
        settings["mask"] = prune("random", y, op, sparsity=0.3)
    for weights in (fitted, None):
        results = []
        for data in (y, other):
            rule = Never()
            rule.weights = weights
            results.append(invdiff.solve(data, op, None, method, sigma_y=0.02, seed=0, **settings | {"stop": rule}).x)
        assert torch.equal(*results) == (weights is not None)


@pytest.mark.parametrize(("method", "weight"), [("aseq-dip", "lam"), ("self-guided-dip", "alpha")])
def test_the_autoencoding_term_holds_the_image_at_its_input(method: str, weight: str) -> None:
    """Without renewals the input is the first image."""
    op = OPERATORS["inpainting"]
    y = measured(op, image())
    settings = SHORT[method] | {"jitter": 0.0, "average": 1.0, "stop": "never", "iterations": 40}
    settings |= {"every": 0} if method == "aseq-dip" else {"input_lr": 0.0}
    rough = op.reference_image(y)  # type: ignore[operator]
    near, far = (
        float((invdiff.solve(y, op, None, method, sigma_y=0.02, seed=0, **settings | {weight: w}).x - rough).norm())
        for w in (10.0, 1e-6)
    )
    assert near < 0.7 * far


@pytest.mark.parametrize("method", ["dip", "aseq-dip"])
def test_the_image_returned_is_the_average_of_the_iterates(method: str) -> None:
    """From noise one that forgets its beginning; the fit itself does not depend on it."""
    op = OPERATORS["denoising"]
    y = measured(op, image())
    settings = SHORT[method] | {"iterations": 25, "stop": "never", "channels": 4}
    paths: dict[float, list[Tensor]] = {1.0: [], 0.3: []}
    for average, seen in paths.items():
        result = invdiff.solve(
            y, op, None, method, seed=0, callback=lambda r, s=seen: s.append(r["x"]), **settings | {"average": average}
        )
    expected = paths[1.0][0]
    for i, x in enumerate(paths[1.0][1:], 1):
        expected = torch.lerp(expected, x, forgetting(0.3, i) if method == "dip" else 0.3)
    torch.testing.assert_close(result.x, expected)
    assert float((result.x - paths[1.0][-1]).norm()) > 0.01 * float(result.x.norm()), "control: not the last"


def test_complex_images_are_two_channels_and_come_back() -> None:
    op = OPERATORS["mri"]
    x = torch.polar(image(2) + 0.1, 3 * image(2))
    problem = Problem(op.simulate(x, 0.02, seed=0), op)
    output = problem.output(x)
    assert output.shape == (2, 2, SIZE, SIZE)
    torch.testing.assert_close(output[:, 0] * problem.s.view(-1, 1, 1), x[:, 0].real)
    torch.testing.assert_close(problem.image(output), x)


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


@pytest.mark.parametrize("method", SHORT)
def test_double_precision_is_taken(method: str) -> None:
    """The networks compute in their own; y and x are as they came."""
    op = OPERATORS["inpainting"]
    y = measured(op, image()).double()
    result = invdiff.solve(y, op, None, method, sigma_y=0.02, seed=0, **SHORT[method] | {"iterations": 3})
    assert result.x.dtype == torch.float64
    assert result.misfit.dtype == torch.float64


@pytest.mark.parametrize("method", ["dip", "deep-decoder", "aseq-dip", "self-guided-dip"])
def test_a_network_without_channels_is_refused(method: str) -> None:
    op = OPERATORS["denoising"]
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        invdiff.solve(measured(op, image()), op, None, method, sigma_y=0.02, **SHORT[method] | {"channels": 0})


@pytest.mark.parametrize(("stop", "iterations"), [("held-out + discrepancy", 40), ("variance", 9)])
def test_the_result_says_which_iterate_was_taken(stop: str, iterations: int) -> None:
    """One that the discrepancy ends; and one too short for its rule, which has the last."""
    op = OPERATORS["denoising"]
    y = measured(op, image(2))
    seen: list[Tensor] = []
    settings: dict[str, Any] = {"channels": 8, "average": 1.0, "jitter": 0.0, "iterations": iterations, "stop": stop}
    sigma_y = torch.tensor([0.3, 0.2])
    result = invdiff.solve(
        y, op, None, "dip", sigma_y=sigma_y, seed=0, callback=lambda record: seen.append(record["x"]), **settings
    )
    assert result.chosen is not None
    for b, i in enumerate(result.chosen[:, 0].tolist()):
        assert torch.equal(result.x[b], seen[i][b])
        assert result.last is not None
        assert torch.equal(result.last[b, 0], seen[-1][b])
        assert (i + 1 < iterations) == (stop != "variance")
    listed = ", ".join(map(str, result.chosen[:, 0].tolist()))
    assert f"iterations {listed} are taken" in result.status


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
