"""Networks fitted to one scan, through `solve`: every method, operators of every kind, batches, masks, stop rules."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import CartesianMRI, GaussianBlur, Identity, Inpainting, Operator
from invdiff.priors import GaussianPrior
from invdiff.random import streams
from invdiff.solvers.oes import Mask, _misfit, _sensitivity, hourglass, largest, learn_mask, planted, prune
from invdiff.solvers.stopping import Never
from invdiff.solvers.untrained import Fit, Problem, fit

SIZE = 16
SHORT: dict[str, dict[str, Any]] = {
    "dip": {"iterations": 80, "channels": 8, "average": 0.2},
    "deep-decoder": {"iterations": 80, "channels": 16},
    "aseq-dip": {"iterations": 80, "lr": 1e-2, "lam": 0.1, "channels": 8},
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


def test_the_prior_moves_udig_dip() -> None:
    op, x = OPERATORS["inpainting"], image()
    y = measured(op, x)
    noise = streams(0, 40)[0].like(torch.zeros(40, 1, SIZE + 4, SIZE + 4))
    prior = GaussianPrior.fit(torch.nn.functional.avg_pool2d(noise, 5, 1), "stationary")
    settings: dict[str, Any] = {"rounds": 3, "every": 10, "lr": 1e-2, "denoise": 2, "channels": 8}
    result = invdiff.solve(y, op, prior, "udig-dip", sigma_y=0.02, seed=0, **settings)
    assert result.nfe == 6, "rounds x evaluations of a refinement"
    with pytest.raises(ValueError, match="needs a prior"):
        invdiff.solve(y, op, None, "udig-dip", sigma_y=0.02, **settings)


def test_masked_parameters_stay_zero_and_kept_ones_move() -> None:
    op = OPERATORS["denoising"]
    y = measured(op, image())
    mask = learn_mask(y, op, sparsity=0.1, iterations=3, seed=5)
    assert mask.share == pytest.approx(0.1, rel=1e-3)
    replicas, z = planted(mask.network(), mask.seed, y, op)
    first = {name: p.detach().clone() for name, p in replicas.parameters.items()}
    fit(Problem(y, op), replicas, z, Fit(4, 0.01), Never(), noise=streams(0, 1)[0], callback=_ignore, mask=mask.keep)
    moved = 0
    for name, keep in mask.keep.items():
        after = replicas.parameters[name].detach()[0]
        assert bool((after[~keep] == 0).all())
        moved += int((after[keep] != first[name][0][keep]).sum())
    assert moved > 500, "most kept weights of so young a mask lie in channels without a way to the output"


def _ignore(*args: Any, **kwargs: Any) -> None: ...


def test_masks_come_back_from_their_file_and_go_to_other_images(tmp_path: Path) -> None:
    op = OPERATORS["denoising"]
    y = measured(op, image())
    mask = learn_mask(y, op, sparsity=0.3, iterations=3, seed=1)
    path = mask.save(tmp_path / "mask.safetensors")
    loaded = Mask.load(path)
    assert loaded.seed == 1
    assert loaded.layers() == mask.layers()
    other = OPERATORS["inpainting"]
    settings = SHORT["sparse-dip"] | {"iterations": 5}
    results = [
        invdiff.solve(measured(other, image(2)), other, None, "sparse-dip", seed=0, mask=m, **settings)
        for m in (mask, path)
    ]
    assert torch.equal(results[0].x, results[1].x)
    with pytest.raises(ValueError, match="real channels"):
        invdiff.solve(measured(OPERATORS["mri"], image()), OPERATORS["mri"], None, "sparse-dip", mask=mask)


def test_files_that_are_no_masks_are_refused(tmp_path: Path) -> None:
    op = OPERATORS["denoising"]
    path = learn_mask(measured(op, image()), op, iterations=1).save(tmp_path / "mask.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot be read as a mask"):
        Mask.load(path)
    with pytest.raises(ValueError, match="cannot be read"):
        Mask.load(tmp_path / "absent.safetensors")


def test_the_largest_are_kept_over_all_layers_and_ties_broken_by_the_seed() -> None:
    scores = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[2.0, 1.0]])}
    keep = largest(scores, 0.5, 0)
    assert keep["a"].tolist() == [True, False]
    assert keep["b"].tolist() == [[True, False]]
    flat = {"a": torch.zeros(1000)}
    one, two = largest(flat, 0.1, 0)["a"], largest(flat, 0.1, 1)["a"]
    assert int(one.sum()) == int(two.sum()) == 100
    assert not torch.equal(one, two)


def test_learned_masks_generate_the_image_better_than_random_ones() -> None:
    op, x = OPERATORS["denoising"], image()
    y = measured(op, x)
    learned = learn_mask(y, op, sparsity=0.5, iterations=60, lr=0.1, seed=0)
    random = prune("random", y, op, sparsity=0.5, seed=0)

    def misfit(mask: Mask) -> float:
        replicas, z = planted(hourglass(1, op), 0, y, op)
        factors = {name: k[None].float() for name, k in mask.keep.items()}
        return float(_misfit(replicas.masked(factors), z, Problem(y, op)))

    assert misfit(learned) < 0.7 * misfit(random)


@pytest.mark.parametrize("kind", ["random", "magnitude", "snip", "grasp"])
def test_other_rules_keep_the_same_share(kind: str) -> None:
    op = OPERATORS["denoising"]
    y = measured(op, image())
    mask = prune(kind, y, op, sparsity=0.05)
    assert mask.share == pytest.approx(0.05, rel=1e-3)


def test_snip_scores_are_those_of_finite_differences() -> None:
    """|theta dL/dtheta| of the most sensitive weight, from the change of the misfit as it is scaled."""
    op = OPERATORS["denoising"]
    y = measured(op, image())
    replicas, z = planted(hourglass(1, op), 0, y, op)
    scores = _sensitivity("snip", replicas, z, Problem(y, op))["tail.weight"]
    at = int(scores.flatten().argmax())
    values = []
    for factor in (1.01, 0.99):
        scaled = {name: torch.ones_like(p) for name, p in replicas.parameters.items()}
        scaled["tail.weight"].flatten()[at] = factor
        values.append(float(_misfit(replicas.masked(scaled), z, Problem(y, op))))
    assert abs(values[0] - values[1]) / 0.02 == pytest.approx(float(scores.flatten()[at]), rel=0.02)


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (1, 3, 16)])
def test_volumes_and_slivers_are_refused_before_the_first_step(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pixels a side or more"):
        invdiff.solve(torch.ones(1, *shape), Identity(shape), None, "dip", sigma_y=0.1)
