"""Masks over a random generator: learned and pruned ones, on file, on other scans, and as a smaller network."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.networks.hourglass import Hourglass
from invdiff.operators import CartesianMRI, GaussianBlur, Identity, Inpainting
from invdiff.operators.base import Operator
from invdiff.random import streams
from invdiff.solvers import checkpoint, oes
from invdiff.solvers.compact import chain, compact, varying
from invdiff.solvers.generator import hourglass, misfit, planted
from invdiff.solvers.iterative_magnitude import iterative_magnitude
from invdiff.solvers.mask import Mask, largest
from invdiff.solvers.oes import learn_mask
from invdiff.solvers.pruning import KINDS, prune, sensitivity
from invdiff.solvers.stopping import Never
from invdiff.solvers.synflow import flow, synflow
from invdiff.solvers.untrained import Fit, Problem, fit
from invdiff.solvers.whole_channels import whole_channels

SIZE = 16
SHORT: dict[str, Any] = {"iterations": 5, "stop": "never", "seed": 0, "progress": False}


def image(batch: int = 1, size: int = SIZE) -> Tensor:
    """A smooth positive image, (batch, 1, size, size)."""
    ramp = torch.linspace(-1, 1, size)
    blob = torch.exp(-3 * (ramp[:, None] ** 2 + (ramp - 0.2) ** 2))
    return torch.stack([blob.roll(2 * b, 1) for b in range(batch)])[:, None]


def denoising(size: int = SIZE) -> tuple[Tensor, Operator]:
    op = Identity((1, size, size))
    return op.simulate(image(1, size), 0.02, seed=0), op


def silent(*args: Any, **kwargs: Any) -> None: ...


def test_masked_parameters_stay_zero_under_adam_and_kept_ones_move() -> None:
    y, op = denoising()
    mask = learn_mask(y, op, sparsity=0.1, iterations=3, seed=5)
    assert mask.share == pytest.approx(0.1, rel=1e-3)
    moved = {}
    for name, of in (("masked", mask.keep), ("control", None)):
        replicas, z = planted(mask.network(), mask.seed, y, op)
        first = {n: p.detach().clone() for n, p in replicas.parameters.items()}
        fit(Problem(y, op), replicas, z, Fit(4, 0.01), Never(), noise=streams(0, 1)[0], callback=silent, mask=of)
        after = {n: p.detach() for n, p in replicas.parameters.items()}
        moved[name] = sum(int((after[n] != first[n])[0][k].sum()) for n, k in mask.keep.items())
        dropped = sum(int((after[n][0][~k] != 0).sum()) for n, k in mask.keep.items())
        assert (dropped == 0) == (name == "masked"), "without a mask nearly every parameter is other than 0"
    assert moved["masked"] > 500, "most kept weights of so young a mask lie in channels without a way to the output"


def test_masks_come_back_from_their_file(tmp_path: Path) -> None:
    y, op = denoising()
    mask = learn_mask(y, op, sparsity=0.3, iterations=3, seed=1)
    path = mask.save(tmp_path / "mask.safetensors")
    loaded = Mask.load(path)
    assert loaded.seed == 1
    assert loaded.layers() == mask.layers()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot be read as a mask"):
        Mask.load(path)
    with pytest.raises(ValueError, match="cannot be read"):
        Mask.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("forgotten", ["", "adam", "noise", "logits"])
def test_learning_goes_on_from_its_file_to_the_bit(
    forgotten: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: a part of the state that is not stored as it was changes the mask."""
    y, op = denoising()
    file = tmp_path / "learning.safetensors"
    settings: dict[str, Any] = {"sparsity": 0.3, "iterations": 9, "lr": 0.1, "channels": 4}
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    whole = learn_mask(y, op, **settings)

    calls, divergence = iter(range(9)), oes._divergence

    def killed(p: Tensor, s: float) -> Tensor:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return divergence(p, s)

    monkeypatch.setattr(oes, "_divergence", killed)
    with pytest.raises(KeyboardInterrupt):
        learn_mask(y, op, checkpoint=file, **settings)
    monkeypatch.setattr(oes, "_divergence", divergence)
    content, identity = checkpoint.read_fit(file)
    assert content["done"] == 4
    if forgotten:
        spoiled = {
            "adam": {k: v | {"exp_avg": -v["exp_avg"]} for k, v in content["adam"].items()},
            "noise": [torch.Generator().manual_seed(1).get_state()],
            "logits": -content["logits"],
        }[forgotten]
        checkpoint.Checkpoint(file, identity).write(lambda: content | {forgotten: spoiled}, last=True)
    resumed = learn_mask(y, op, checkpoint=file, **settings)
    assert all(torch.equal(k, resumed.keep[name]) for name, k in whole.keep.items()) == (not forgotten)
    with pytest.raises(ValueError, match="differs: seed"):
        learn_mask(y, op, checkpoint=file, seed=1, **settings)


def test_no_layer_is_emptied_by_what_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last layer has as many weights as the finest scale channels: chance alone leaves it without any."""
    y = torch.ones(1, 1, SIZE, SIZE)

    def empty() -> list[bool]:
        options = {"channels": 2, "sparsity": 0.2, "iterations": 1}
        masks = [learn_mask(y, Identity((1, SIZE, SIZE)), seed=seed, **options) for seed in range(6)]
        return [min(mask.layers().values()) == 0 for mask in masks]

    assert not any(empty())
    monkeypatch.setattr(oes, "alive", lambda scores: scores)
    assert any(empty())


def test_biases_and_normalisations_are_kept_and_the_width_is_an_option() -> None:
    y, op = denoising()
    for mask in (learn_mask(y, op, iterations=2, channels=4), prune("snip", y, op, channels=4)):
        assert mask.config["channels"] == [4, 8]
        assert mask.share == pytest.approx(0.05, rel=1e-2)
        assert all(bool(k.all()) for k in mask.keep.values() if k.ndim == 1)
    with pytest.raises(ValueError, match="sparsity must be above"):
        learn_mask(y, op, sparsity=1e-4)


@pytest.fixture(scope="module")
def mask() -> Mask:
    """One learned in a few steps."""
    return learn_mask(*denoising(), sparsity=0.3, iterations=20, lr=0.1, seed=1)


OTHERS: dict[str, tuple[int, Operator]] = {
    "image": (SIZE, Identity((1, SIZE, SIZE))),
    "operator": (SIZE, Inpainting((torch.arange(SIZE**2).view(SIZE, SIZE) % 3 > 0).bool(), (1, SIZE, SIZE))),
    "larger, odd": (27, GaussianBlur(1.0, shape=(1, 27, 27))),
    "smaller": (10, Identity((1, 10, 10))),
}


@pytest.mark.parametrize("other", OTHERS)
def test_masks_go_to_other_images_operators_and_sizes(other: str, mask: Mask, tmp_path: Path) -> None:
    size, op = OTHERS[other]
    y = op.simulate(image(2, size), 0.02, seed=1)
    settings = SHORT | {"iterations": 20}
    results = [
        invdiff.solve(y, op, None, "sparse-dip", mask=m, sigma_y=0.02, **settings)
        for m in (mask, mask.save(tmp_path / "mask.safetensors"))
    ]
    assert torch.equal(results[0].x, results[1].x), "a file of a mask is the mask"
    assert results[0].x.shape == (2, 1, size, size)
    assert float((op(results[0].x) - y).norm()) < 0.5 * float(y.norm()), "kept weights can be fitted"
    empty = Mask({n: k & ("tail.bias" in n) for n, k in mask.keep.items()}, mask.config, mask.seed)
    control = invdiff.solve(y, op, None, "sparse-dip", mask=empty, sigma_y=0.02, **settings)
    assert float((op(control.x) - y).norm()) > 0.5 * float(y.norm()), "control: a mask of next to nothing cannot"


def test_a_mask_says_what_it_is_in_a_line(mask: Mask) -> None:
    total = sum(k.numel() for k in mask.keep.values())
    assert repr(mask).startswith(f"Mask(30.00% of {total:,} parameters, seed 1, ")
    assert len(repr(mask)) < 200


def test_what_is_no_mask_is_refused(mask: Mask, tmp_path: Path) -> None:
    y, op = denoising()
    for wrong in (mask.keep, torch.ones(4, 4)):
        with pytest.raises(TypeError, match="mask must be a Mask or the path"):
            invdiff.solve(y, op, None, "sparse-dip", mask=wrong, **SHORT)
    with pytest.raises(ValueError, match=r"kept in a \.safetensors file"):
        mask.save(tmp_path / "mask.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [learn_mask, partial(prune, "snip")], ids=["learned", "pruned"])
def test_masks_are_made_from_measurements_only(make: Any) -> None:
    y, op = denoising()
    bad = y.clone()
    bad[0, 0, 3, 3] = torch.nan
    for wrong, message in ((bad, "not finite"), (y[0], "takes"), (y[..., :9], "takes")):
        with pytest.raises(ValueError, match=message):
            make(wrong, op)
    with pytest.raises(ValueError, match="no mask can be made behind Identity"):
        make(torch.ones(1, 1, 8, 8, 8), Identity((1, 8, 8, 8)))


def test_a_mask_for_other_channels_is_refused() -> None:
    y, op = denoising()
    mask = prune("random", y, op)
    mri = CartesianMRI(torch.arange(SIZE) % 4 != 1, shape=(SIZE, SIZE))
    with pytest.raises(ValueError, match="real channels"):
        invdiff.solve(mri.simulate(image().to(torch.complex64), 0.01, seed=0), mri, None, "sparse-dip", mask=mask)


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
    y, op = denoising()
    learned = learn_mask(y, op, sparsity=0.5, iterations=60, lr=0.1, seed=0)
    random = prune("random", y, op, sparsity=0.5, seed=0)

    def energy(mask: Mask) -> float:
        replicas, z = planted(hourglass(1, op), 0, y, op)
        factors = {name: k[None].float() for name, k in mask.keep.items()}
        return float(misfit(replicas.masked(factors), z, Problem(y, op)))

    assert energy(learned) < 0.7 * energy(random)


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_keeps_the_same_share_and_repeats(kind: str) -> None:
    y, op = denoising()
    one, two = (prune(kind, y, op, sparsity=0.05, iterations=2) for _ in range(2))
    assert one.share == pytest.approx(0.05, rel=1e-3)
    assert all(torch.equal(k, two.keep[name]) for name, k in one.keep.items())


def test_unknown_rules_and_several_measurements_are_refused() -> None:
    y, op = denoising()
    with pytest.raises(ValueError, match="must be one of random"):
        prune("sniff", y, op)
    with pytest.raises(ValueError, match="from one measurement"):
        prune("snip", y.repeat(2, 1, 1, 1), op)


def test_snip_scores_are_those_of_finite_differences() -> None:
    """|theta dL/dtheta| of the most sensitive weight, from the change of the misfit as it is scaled."""
    y, op = denoising()
    replicas, z = planted(hourglass(1, op), 0, y, op)
    scores = sensitivity("snip", replicas, z, Problem(y, op))["tail.weight"]
    at = int(scores.flatten().argmax())
    values = []
    for factor in (1.01, 0.99):
        scaled = {name: torch.ones_like(p) for name, p in replicas.parameters.items()}
        scaled["tail.weight"].flatten()[at] = factor
        values.append(float(misfit(replicas.masked(scaled), z, Problem(y, op))))
    assert abs(values[0] - values[1]) / 0.02 == pytest.approx(float(scores.flatten()[at]), rel=0.02)


def test_grasp_scores_are_those_of_finite_differences() -> None:
    """theta (H g), with H g from gradients a small step along g to either side, in double precision."""
    y, op = denoising()
    y = y.double()
    replicas, z = planted(hourglass(1, op, 4), 0, y, op)
    theta = {name: p.detach().double() for name, p in replicas.parameters.items()}
    problem = Problem(y, op)

    def gradient(step: float, along: dict[str, Tensor]) -> dict[str, Tensor]:
        replicas.parameters = {name: (p + step * along[name]).requires_grad_() for name, p in theta.items()}
        values = list(replicas.parameters.values())
        return dict(zip(theta, torch.autograd.grad(misfit(replicas, z, problem), values), strict=True))

    g = gradient(0.0, theta)
    step = 1e-6 / float(torch.stack([v.norm() for v in g.values()]).norm())
    ahead, behind = (gradient(sign * step, g)["tail.weight"] for sign in (1, -1))
    gradient(0.0, theta)
    scores = sensitivity("grasp", replicas, z, problem)["tail.weight"]
    torch.testing.assert_close(scores, theta["tail.weight"] * (ahead - behind) / (2 * step), rtol=1e-3, atol=1e-6)


def parameters(net: Hourglass, seed: int = 0) -> dict[str, Tensor]:
    y, op = denoising()
    return {name: p.detach()[0] for name, p in planted(net, seed, y, op)[0].parameters.items()}


def test_every_layer_carries_the_same_synaptic_flow() -> None:
    """Conservation: all paths lead through all layers, so that the scores of each add up to R."""
    net = Hourglass(32, 1, (8, 12))
    scores = flow(net, parameters(net))
    sums = {name: float(v.sum()) for name, v in scores.items() if name.endswith("weight")}
    assert list(sums.values()) == pytest.approx([sums["tail.weight"]] * len(sums), rel=1e-9)
    assert all(not bool(v.any()) for name, v in scores.items() if name.endswith("bias"))


def test_the_flow_is_that_of_the_network_itself_on_ones() -> None:
    """R by brute force: |weights|, no biases, normalisations as factors, on an image of ones of full size."""
    net = Hourglass(4, 2, (3, 5))
    theta = {name: p.detach().abs() for name, p in net.named_parameters()}
    x = torch.ones(1, 4, 16, 16)
    for layer in chain(net):
        x = x * theta[f"{layer.before}.weight"][:, None, None] if layer.before else x
        weight = theta[f"{layer.conv}.weight"]
        pad = weight.shape[-1] // 2
        x = torch.nn.functional.conv2d(torch.nn.functional.pad(x, [pad] * 4, mode="reflect"), weight)
        x = x * theta[f"{layer.after}.weight"][:, None, None] if layer.after else x
    expected = float(x.mean((2, 3)).sum())
    assert float(flow(net, theta)["tail.weight"].sum()) == pytest.approx(expected, rel=1e-5)  # float32 against float64


def emptied(keep: dict[str, Tensor]) -> list[str]:
    return [name for name, k in keep.items() if name.endswith("weight") and not bool(k.any())]


def test_synflow_never_empties_a_layer_where_magnitude_and_a_single_round_do() -> None:
    y, op = denoising(32)
    net, share = hourglass(1, op), 0.02
    theta = {name: p.detach()[0] for name, p in planted(net, 0, y, op)[0].parameters.items()}
    assert emptied(prune("magnitude", y, op, sparsity=share).keep)
    assert emptied(synflow(net, theta, share, 0, rounds=1)), "control: without its iterations it collapses"
    keep = synflow(net, theta, share, 0, rounds=30)
    assert not emptied(keep)
    assert bool(varying(net, keep)[-1].any()), "and a path is left from input to image"


def test_iterative_magnitude_keeps_what_grew_and_rewinds() -> None:
    y, op = denoising()
    replicas, z = planted(hourglass(1, op), 0, y, op)
    first = {name: p.detach().clone() for name, p in replicas.parameters.items()}
    keep = iterative_magnitude(replicas, z, Problem(y, op), 0.2, 0, rounds=3, iterations=10)
    assert all(torch.equal(p, first[name]) for name, p in replicas.parameters.items()), "the first ones are not touched"
    once = prune("magnitude", y, op, sparsity=0.2).keep
    both = sum(int((keep[name] & once[name]).sum()) for name in keep)
    total = sum(int(k.sum()) for k in keep.values())
    assert both < total, "training changes which are large"
    tighter = iterative_magnitude(replicas, z, Problem(y, op), 0.04, 0, rounds=2, iterations=10)
    looser = iterative_magnitude(replicas, z, Problem(y, op), 0.2, 0, rounds=1, iterations=10)
    assert all(not bool((tighter[name] & ~looser[name]).any()) for name in tighter), "what is dropped stays dropped"


def sparse_problem(share: float, seed: int = 0) -> tuple[Any, Tensor, Mask]:
    """A network with parameters all other than 0, and a random mask that leaves some channels dead."""
    y, op = denoising()
    mask = prune("random", y, op, sparsity=share, seed=seed)
    replicas, z = planted(mask.network(), mask.seed, y, op)
    mask.keep["tail.weight"][:] = True
    generator = torch.Generator().manual_seed(seed)
    for name, p in replicas.parameters.items():
        p.data += 0.1 * torch.randn(p.shape, generator=generator)
        if p[0].ndim == 1 and name.endswith("weight"):
            mask.keep[name] &= torch.rand(p[0].shape, generator=generator) > 0.3
    return replicas, z, mask


def outputs(replicas: Any, keep: dict[str, Tensor], z: Tensor) -> Tensor:
    with torch.no_grad():
        return replicas.masked({name: k[None].float() for name, k in keep.items()})(z[:, None])[:, 0]


def size(replicas: Any) -> int:
    return sum(p.numel() for p in replicas.parameters.values())


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_without_dead_channels_the_network_makes_the_same_image(share: float) -> None:
    replicas, z, mask = sparse_problem(share)
    small, left = compact(replicas, mask.keep)
    assert size(small) < size(replicas)
    wanted, got = outputs(replicas, mask.keep, z), outputs(small, left, z)
    assert float(wanted.std()) > 1e-3, "an image, no constant"
    # normalisation divides a constant channel's rounding (1e-7 of it) by sqrt(1e-5)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3 * float(wanted.std()))


def test_a_wrong_order_of_channels_is_seen() -> None:
    replicas, z, mask = sparse_problem(0.3)
    small, left = compact(replicas, mask.keep)
    wanted = outputs(replicas, mask.keep, z)
    name = "refine.0.0.weight"
    small.parameters[name] = small.parameters[name].detach().roll(1, 2)
    left[name] = left[name].roll(1, 1)
    assert float((outputs(small, left, z) - wanted).norm()) > 0.05 * float(wanted.norm())


def test_what_constant_channels_add_to_the_last_layer_is_kept() -> None:
    replicas, z, mask = sparse_problem(0.3)
    keep = {name: k.clone() for name, k in mask.keep.items()}
    keep["up.0.1.1.weight"][:4], keep["up.0.1.1.bias"][:4] = False, True
    keep["tail.weight"][:, :4] = True
    small, left = compact(replicas, keep)
    assert small.parameters["tail.weight"].shape[2] <= 12
    wanted = outputs(replicas, keep, z)
    torch.testing.assert_close(outputs(small, left, z), wanted, rtol=1e-3, atol=1e-3)
    small.parameters["tail.bias"] = replicas.parameters["tail.bias"]
    assert float((outputs(small, left, z) - wanted).abs().max()) > 1e-2, "control: their sum is no trifle"


def test_a_mask_without_a_path_cannot_be_made_smaller() -> None:
    replicas, _, mask = sparse_problem(0.3)
    cut = {name: k & ("refine.1.0.weight" not in name) for name, k in mask.keep.items()}
    with pytest.raises(ValueError, match="no path"):
        compact(replicas, cut)


def test_whole_channels_are_the_busiest_and_make_the_network_small() -> None:
    y, op = denoising()
    mask = prune("snip", y, op, sparsity=0.05)
    mask.keep["refine.0.0.weight"][5] = True
    narrow = whole_channels(mask, 0.25)
    counts = [group.sum() for group in varying(mask.network(), narrow.keep)]
    assert counts == [32, 4, 4, 8, 8, 8, 4, 1]
    assert bool(narrow.keep["refine.0.1.bias"][5]), "the channel that most was kept of"
    assert 0.02 < whole_channels(mask).share < 0.12, "about the share of the mask itself"
    replicas, z = planted(mask.network(), 0, y, op)
    small, left = compact(replicas, narrow.keep)
    assert all(bool(k.all()) for k in left.values()), "dense"
    assert size(small) == sum(int(k.sum()) for k in narrow.keep.values())
    torch.testing.assert_close(outputs(small, left, z), outputs(replicas, narrow.keep, z), rtol=1e-3, atol=1e-4)


def test_sparse_dip_fits_the_smaller_network_alike() -> None:
    y, op = denoising()
    mask = whole_channels(prune("random", y, op, sparsity=0.2))
    settings = SHORT | {"iterations": 3, "mask": mask, "sigma_y": 0.02}
    full, small = (invdiff.solve(y, op, None, "sparse-dip", compact=c, **settings).x for c in (False, True))
    assert float((small - full).norm()) < 0.05 * float(full.norm()), "Adam divides by small gradients"
    with pytest.raises(ValueError, match="one mask for all items"):
        invdiff.solve(y.repeat(2, 1, 1, 1), op, None, "sparse-dip", compact=True, sigma_y=0.02, **SHORT)


def test_kept_shares_by_layer_add_up_to_that_of_all() -> None:
    mask = prune("magnitude", *denoising())
    kept = sum(share * mask.keep[name].numel() for name, share in mask.layers().items())
    assert kept / sum(k.numel() for k in mask.keep.values()) == pytest.approx(mask.share)
    assert math.isclose(mask.share, 0.05, rel_tol=1e-3)
