"""The front door: what it refuses, what it promises of seeds, batches and scales, what it reports."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from torch import Tensor

import invdiff
from invdiff.operators import CartesianMRI, Identity, Inpainting, ParallelBeamCT, RealToComplex
from invdiff.operators.base import Operator
from invdiff.priors import AdaptedPrior, Direct
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.mismatch import PriorMismatch, reference_statistics
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.units import Units

H, W = 12, 11
SHORT = {
    "sitcom": {"steps": 4, "inner": 4},
    "dps": {"steps": 12},
    "dds": {"steps": 6},
    "pigdm": {"steps": 12},
    "ddnm": {"steps": 6},
    "ddrm": {"steps": 6},
    "diffpir": {"steps": 6},
    "red-diff": {"steps": 12},
    "daps": {"steps": 6},
    "pnp-dm": {"steps": 6},
    "dcdp": {"steps": 4, "denoise": 2},
    "dc-pnp": {"steps": 6},
}
BASELINES = ("adjoint", "cg", "wavelet", "tv")


def spectrum(h: int = H, w: int = W) -> Tensor:
    y, x = torch.meshgrid(torch.arange(h) - h // 2, torch.arange(w) - w // 2, indexing="ij")
    return (4 / (1 + (y**2 + x**2) / 2.0) ** 1.5)[None]


def gaussian(percentile: float | None = None) -> GaussianPrior:
    prior = GaussianPrior.stationary(torch.zeros(1, H, W, dtype=torch.complex64), spectrum())
    prior.percentile = percentile
    return prior


def mri() -> CartesianMRI:
    mask = torch.zeros(W, dtype=torch.bool)
    mask[[0, 2, 3, 4, 5, 6, 7, 8, 10]] = True
    return CartesianMRI(mask, shape=(1, H, W))


def measured(batch: int = 2, sigma: float = 0.1) -> Tensor:
    return mri().simulate(gaussian().sample(batch, 5), sigma, seed=1)


@pytest.mark.parametrize("method", [*SHORT, *BASELINES])
def test_every_method_runs_and_reports(method: str) -> None:
    y = measured()
    before = y.clone()
    result = invdiff.solve(y, mri(), gaussian(), method, sigma_y=0.1, seed=0, **SHORT.get(method, {}))
    assert torch.equal(y, before)
    assert result.x.shape == (2, 1, H, W)
    assert result.x.dtype == torch.complex64
    assert result.method == method
    assert result.chi2 is not None
    assert result.chi2.shape == (2,)
    assert (result.nfe > 0) == (method in SHORT)
    assert "finished" in result.status
    assert result.seconds > 0


@pytest.mark.parametrize("method", [*SHORT, *BASELINES])
def test_four_in_a_batch_equal_four_alone(method: str) -> None:
    y = measured(4)
    options: dict[str, Any] = {"sigma_y": 0.1, "num_samples": 2, "seed": 3, **SHORT.get(method, {})}
    together = invdiff.solve(y, mri(), gaussian(), method, **options).samples
    # a single image is item 0 of its batch: the others are compared through operators and streams that do not mix
    alone = invdiff.solve(y[:1], mri(), gaussian(), method, **options).samples
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)  # float32, other batch layout
    swapped = invdiff.solve(y[[0, 3, 2, 1]], mri(), gaussian(), method, **options).samples
    torch.testing.assert_close(together[:1], swapped[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [*SHORT, *BASELINES])
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scaling_the_data_scales_the_result(method: str, factor: float) -> None:
    y = measured()
    options: dict[str, Any] = {"seed": 0, **SHORT.get(method, {})}
    one = invdiff.solve(y, mri(), gaussian(99.5), method, sigma_y=0.1, **options)
    other = invdiff.solve(y * factor, mri(), gaussian(99.5), method, sigma_y=0.1 * factor, **options)
    change = (other.x / factor - one.x).norm() / one.x.norm()
    assert float(change) < 1e-4


@pytest.mark.parametrize("method", SHORT)
def test_seed_zero_and_one_differ_and_zero_repeats(method: str) -> None:
    y = measured()
    run = [invdiff.solve(y, mri(), gaussian(), method, sigma_y=0.1, seed=s, **SHORT[method]).x for s in (0, 1, 0)]
    assert not torch.allclose(run[0], run[1])
    assert torch.equal(run[0], run[2])


def test_samples_of_operators_with_their_own_batch_equal_those_of_single_operators() -> None:
    masks = torch.stack([mri().sampled[0, 0].expand(H, W), torch.ones(H, W, dtype=torch.bool)])
    op = CartesianMRI(masks)
    y = op.simulate(gaussian().sample(2, 5), 0.1, seed=1)
    both = invdiff.solve(y, op, gaussian(), "dds", sigma_y=0.1, seed=0, num_samples=3, steps=4)
    first = invdiff.solve(y[:1], mri(), gaussian(), "dds", sigma_y=0.1, seed=0, num_samples=3, steps=4)
    torch.testing.assert_close(both.samples[:1], first.samples, rtol=1e-4, atol=1e-5)
    assert both.nfe == first.nfe == 4


def test_statistics_are_those_of_the_samples() -> None:
    result = invdiff.solve(measured(), mri(), gaussian(), "dds", sigma_y=0.1, seed=0, num_samples=4, steps=4)
    torch.testing.assert_close(result.x, result.samples.mean(1))
    spread = (result.samples - result.mean[:, None]).abs().square().sum(1) / 3
    torch.testing.assert_close(result.std, spread.sqrt())
    assert invdiff.solve(measured(), mri(), gaussian(), "dds", sigma_y=0.1, steps=2).std is None


def test_misfit_and_chi2_count_measured_values_only() -> None:
    y = measured()
    result = invdiff.solve(y, mri(), gaussian(), "sitcom", sigma_y=0.1, seed=0, num_samples=2, steps=3, inner=2)
    assert result.misfit.shape == (3, 2, 2)
    residual = (mri()(result.x) - y).abs().square().sum((1, 2, 3))
    torch.testing.assert_close(result.chi2, residual / (2 * 9 * H * 0.01))


@pytest.mark.parametrize("method", ["sitcom", "cg"])
def test_an_item_is_judged_by_its_own_mask(method: str) -> None:
    op = CartesianMRI(torch.stack([mri().sampled[0, 0].expand(H, W), torch.ones(H, W, dtype=torch.bool)]))
    y = op.simulate(gaussian().sample(2, 5), 0.1, seed=1)
    both = invdiff.solve(y, op, gaussian(), method, sigma_y=0.1, seed=0, **SHORT.get(method, {}))
    alone = invdiff.solve(y[:1], mri(), gaussian(), method, sigma_y=0.1, seed=0, **SHORT.get(method, {}))
    torch.testing.assert_close(both.x[:1], alone.x, rtol=1e-4, atol=1e-5)  # float32, other batch layout
    torch.testing.assert_close(both.chi2[:1], alone.chi2, rtol=1e-3, atol=0)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    invdiff.solve(measured(), mri(), gaussian(), "dds", sigma_y=0.1, steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_units_map_there_and_back() -> None:
    units = Units(torch.tensor([2.0, 5.0]), torch.tensor([0.5, -1.0]))
    x = torch.randn(2, 1, 3, 3)
    torch.testing.assert_close(units.to_prior(units.to_physical(x)), x)


def test_a_window_shifts_and_scales_linear_data() -> None:
    prior = GaussianPrior.stationary(torch.zeros(1, H, W), spectrum())
    prior.range, prior.window = (-1.0, 1.0), (0.0, 0.04)
    x = 0.02 + 0.02 * prior.sample(1, 0) / 4
    op = Identity((1, H, W))
    result = invdiff.solve(op(x), op, prior, "dds", sigma_y=1e-6, seed=0, steps=20, gamma=1e6)
    torch.testing.assert_close(result.x, x, rtol=0, atol=1e-4)
    assert float(result.units.offset[0]) == pytest.approx(0.02)


def test_callback_and_own_method() -> None:
    seen = []

    def halve(
        y: Tensor, op: Operator, prior: Prior | None = None, *, noise: Noise, callback: Any, share: float = 0.5
    ) -> Tensor:
        x = share * y
        callback(0, 1, x=x)
        return x

    op = Identity((1, 2, 2))
    result = invdiff.solve(torch.ones(1, 1, 2, 2), op, None, halve, callback=seen.append, share=0.25)
    assert float(result.x.mean()) == 0.25
    assert (result.method, result.options) == ("halve", {"share": 0.25})
    assert [s["step"] for s in seen] == [0]


@pytest.mark.parametrize("returned", [None, torch.ones(2, 1, H, W, 2)])
def test_what_an_own_method_returns_is_checked(returned: Any) -> None:
    def wrong(y: Tensor, op: Operator, prior: Prior | None = None, *, noise: Noise, callback: Any) -> Any:
        return returned

    with pytest.raises(TypeError, match=r"wrong must return a tensor of images \(2, 1, 12, 11\), got"):
        invdiff.solve(measured(), mri(), None, wrong, sigma_y=0.1)


def test_an_option_of_a_method_without_options_is_refused_in_whole_sentences() -> None:
    def plain(y: Tensor, op: Operator, prior: Prior | None = None, *, noise: Noise, callback: Any) -> Tensor:
        return y

    with pytest.raises(TypeError, match=r"plain has no option 'steps'\. There is: none\."):
        invdiff.solve(measured(), mri(), None, plain, sigma_y=0.1, steps=3)


def test_a_lazily_conjugated_measurement_is_as_good_as_any() -> None:
    y = measured().conj()
    assert y.is_conj()
    result = invdiff.solve(y, mri(), gaussian(), "dds", sigma_y=0.1, seed=0, steps=4)
    plain = invdiff.solve(y.resolve_conj(), mri(), gaussian(), "dds", sigma_y=0.1, seed=0, steps=4)
    assert torch.equal(result.x, plain.x)


MODES = {"inference": torch.inference_mode, "bfloat16": lambda: torch.autocast("cpu", torch.bfloat16)}


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_of_the_caller_changes_nothing(mode: str) -> None:
    """Gradients through a prior need autograd, which inference mode lacks; autocast rounds what a network computes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torch.nn.Conv2d(2, 2, 3, padding=1)
    prior = AdaptedPrior(
        lambda x, sigma: x / 2 + 0.1 * net(x), Direct(), channels="complex2", sigma_min=0.01, sigma_max=1.0
    )
    options: dict[str, Any] = {"sigma_y": 0.1, "seed": 0, "steps": 3}
    plain = invdiff.solve(measured(), mri(), prior, "dps", **options)
    with MODES[mode]():
        result = invdiff.solve(measured(), mri(), prior, "dps", **options)
    assert torch.equal(result.x, plain.x)


def test_warnings_point_at_the_caller() -> None:
    prior = gaussian()
    with pytest.warns(UserWarning, match="times as bright") as caught:
        invdiff.solve(1e3 * measured(), mri(), prior, "dds", sigma_y=0.1, steps=2, scale=1.0)
    assert caught[0].filename == __file__


def test_a_real_prior_works_behind_a_complex_transform() -> None:
    prior = GaussianPrior.stationary(torch.zeros(1, H, W), spectrum())
    op = mri() @ RealToComplex((1, H, W))
    y = op.simulate(prior.sample(1, 2), 0.05, seed=0)
    result = invdiff.solve(y, op, prior, "dds", sigma_y=0.05, seed=0, steps=10)
    assert not result.x.is_complex()


def test_results_are_compared_by_identity() -> None:
    first, second = (invdiff.solve(measured(), mri(), None, "adjoint") for _ in range(2))
    assert first != second
    assert second in [first, second]
    assert len({first, second}) == 2


def test_saving_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = invdiff.solve(measured(), mri(), None, "cg", sigma_y=0.1)
    path = result.save(tmp_path / "r.h5")
    with h5py.File(path) as file:
        torch.testing.assert_close(torch.from_numpy(file["x"][:]), result.x)

    def full(*arguments: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="space"):
        result.save(tmp_path / "s.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["r.h5"]
    with pytest.raises(FileNotFoundError, match=r"the folder .*none does not exist; make it first"):
        result.save(tmp_path / "none" / "r.h5")


def nan_at_step(step: int) -> Any:
    class Bad(GaussianPrior):
        calls = 0

        def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
            self.calls += 1
            return super().__call__(x, sigma) * (float("nan") if self.calls == step else 1.0)

    return Bad(torch.zeros(1, H, W, dtype=torch.complex64), gaussian().covariance)


@pytest.mark.parametrize("method", ["dds", "dps"])
def test_a_state_that_is_not_finite_stops_the_run_with_its_step(method: str) -> None:
    with pytest.raises(invdiff.Diverged, match="after step 3 of 12"):
        invdiff.solve(measured(), mri(), nan_at_step(3), method, sigma_y=0.1, steps=12)


def bad(**changes: Any) -> dict[str, Any]:
    return {"y": measured(), "op": mri(), "prior": gaussian(), "method": "dds", "sigma_y": 0.1, "steps": 2} | changes


def any_size() -> AdaptedPrior:
    return AdaptedPrior(lambda x, sigma: x, Direct(), sigma_min=0.01, sigma_max=1.0)


def with_nan() -> Tensor:
    y = measured()
    y[1, 0, 2, 3] = torch.nan
    return y


def with_unsampled() -> Tensor:
    y = measured()
    y[:, :, :, 1] = 1.0
    return y


REFUSED = {
    "unknown method": (bad(method="sitcon"), ValueError, "sitcom"),
    "unknown option": (bad(gama=2.0), TypeError, "gamma"),
    "negative sigma": (bad(sigma_y=-0.1), ValueError, "sigma_y must be finite and 0 or more"),
    "sigma of wrong length": (bad(sigma_y=torch.ones(3)), ValueError, r"\(2,\)"),
    "zero steps": (bad(steps=0), ValueError, "steps must be at least 1, got 0"),
    "zero samples": (bad(num_samples=0), ValueError, "num_samples must be at least 1"),
    "batch of none": (bad(y=measured()[:0]), ValueError, "holds no item"),
    "shape": (bad(y=measured()[..., :-1]), ValueError, r"takes \(B, 1, 12, 11\), got \(2, 1, 12, 10\)"),
    "no batch axis": (bad(y=measured()[0]), ValueError, "batch axis"),
    "real data": (bad(y=measured().real.contiguous()), TypeError, "measures complex data"),
    "not a tensor": (bad(y=measured().numpy()), TypeError, "torch tensor"),
    "integers": (bad(y=torch.ones(2, 1, H, W, dtype=torch.int64)), TypeError, "floating point"),
    "not finite": (bad(y=with_nan()), ValueError, r"1 values that are not finite, the first at index \(1, 0, 2, 3\)"),
    "outside the mask": (bad(y=with_unsampled()), ValueError, "50 % of the entries"),
    "no prior": (bad(prior=None), ValueError, "needs a prior"),
    "prior of another size": (
        bad(op=CartesianMRI(torch.ones(W), shape=(1, 9, W)), y=torch.ones(1, 1, 9, W) + 0j),
        ValueError,
        "9, 11",
    ),
    "prior of images behind a scan of volumes": (
        bad(op=Identity((1, 3, H, W)), y=torch.zeros(1, 1, 3, H, W), prior=any_size()),
        ValueError,
        r"for images \(C, H, W\), Identity takes \(1, 3, 12, 11\)",
    ),
    "real prior": (bad(prior=GaussianPrior.stationary(torch.zeros(1, H, W), spectrum())), ValueError, "RealToComplex"),
    "complex prior behind a real operator": (
        bad(op=ParallelBeamCT([0.0], (H, W)), y=torch.zeros(1, 1, 1, 17)),
        ValueError,
        r"the image is real\. Use a prior of real images\.$",
    ),
    "double precision": (bad(y=measured().to(torch.complex128)), TypeError, "complex64"),
    "singular vectors not known": (
        bad(method="ddrm", op=mri() @ mri()),
        ValueError,
        "ddrm does not work behind CartesianMRI @ CartesianMRI: it needs the singular vectors, .* Use ddnm",
    ),
    "not an operator": (bad(op=torch.nn.Identity()), TypeError, "Operator"),
    "part of a step": (bad(steps=2.5), TypeError, "steps must be a whole number, got 2.5"),
    "step in words": (bad(steps="2"), TypeError, "steps must be a whole number, got '2'"),
    "no in words": (bad(teleport="no"), TypeError, "teleport must be True or False, got 'no'"),
    "number in words": (bad(eta="1"), TypeError, "eta must be a number, got '1'"),
    "part of a sample": (bad(num_samples=1.5), TypeError, "num_samples must be a whole number"),
    "too small to be squared": (
        bad(y=1e-30 * measured(), sigma_y=1e-31),
        ValueError,
        "item 0 of y reaches .* Multiply",
    ),
    "too large to be squared": (bad(y=1e30 * measured(), sigma_y=1e29), ValueError, "item 0 of y reaches .* Multiply"),
    "solver without noise": (
        bad(method=lambda y, op, prior: y, steps=None),
        TypeError,
        "called as solver.*unexpected keyword argument 'noise'",
    ),
    "scale": (bad(scale=-1.0), ValueError, "scale must be above 0"),
    "scale word": (bad(scale="big"), ValueError, "'auto'"),
    "no signal": (bad(prior=gaussian(99.5), y=torch.zeros(1, 1, H, W, dtype=torch.complex64)), ValueError, "no signal"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_bad_input_is_refused_before_the_first_step(fault: str) -> None:
    arguments, kind, sentence = REFUSED[fault]
    steps: list[Any] = []
    with pytest.raises(kind, match=sentence):
        invdiff.solve(**arguments, callback=steps.append)
    assert not steps


class Square(Operator):
    """A non-linear operator of a real image."""

    def __init__(self) -> None:
        super().__init__((1, H, W), (1, H, W), complex_in=False)

    def forward(self, x: Tensor) -> Tensor:
        return x**2


def test_non_linear_operators_reach_only_methods_that_take_them() -> None:
    prior = GaussianPrior.stationary(torch.full((1, H, W), 3.0), spectrum() / 20)
    y = Square().simulate(prior.sample(1, 0), 0.1, seed=0)
    with pytest.raises(ValueError, match="needs a linear operator"):
        invdiff.solve(y, Square(), prior, "dds", sigma_y=0.1)
    with pytest.raises(ValueError, match="needs sigma_y"):
        invdiff.solve(y, Square(), prior, "sitcom")
    result = invdiff.solve(y, Square(), prior, "sitcom", sigma_y=0.1, seed=0, steps=8, inner=10, lr=0.05)
    assert float((result.x**2 - y).norm() / y.norm()) < 0.2


def test_other_devices_are_named() -> None:
    with pytest.raises(ValueError, match="op on meta"):
        invdiff.solve(measured(), mri().to("meta"), gaussian(), "dds", sigma_y=0.1)


def test_an_unsuited_noise_estimate_is_not_needed_by_methods_that_do_not_use_it() -> None:
    mask = Inpainting(torch.ones(H, W), (1, H, W))
    prior = GaussianPrior.stationary(torch.zeros(1, H, W), spectrum())
    assert invdiff.solve(prior.sample(1, 0), mask, prior, "dds", steps=2).chi2 is None


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_a_scale_far_from_what_the_prior_knows_is_warned_of_with_the_ratio(scale: float) -> None:
    with pytest.warns(UserWarning, match="times as bright"):
        invdiff.solve(measured(), mri(), gaussian(99.5), "dds", sigma_y=0.1, steps=2, scale=scale)
    with pytest.warns(UserWarning, match="times as bright"):
        invdiff.solve(scale * measured(), mri(), gaussian(), "dds", sigma_y=0.1 * scale, steps=2)


def knowing(gain: float = 0.0, spread: float = 1.0) -> GaussianPrior:
    """A prior with statistics of its own draws, recorded `gain` dB too high and `spread` times too wide."""
    prior = gaussian()
    prior.domain = "draws of a Gaussian"
    known = reference_statistics(prior, prior.sample(60, 3))
    low, median, high = known.gain
    prior.reference_statistics = replace(
        known, gain=(low + gain - 2, median + gain, high + gain), spread=tuple(spread * v for v in known.spread)
    )
    return prior


def test_an_image_of_the_prior_passes_and_is_not_counted() -> None:
    options: dict[str, Any] = {"sigma_y": 0.1, "seed": 0, "steps": 6, "num_samples": 2}
    plain = invdiff.solve(measured(), mri(), gaussian(), "dds", **options)
    result = invdiff.solve(measured(), mri(), knowing(), "dds", **options)
    assert "prior" not in result.status
    assert torch.equal(result.x, plain.x)
    assert result.nfe == plain.nfe == 6


def test_an_image_of_another_kind_is_warned_of_and_named_in_the_status() -> None:
    options: dict[str, Any] = {"sigma_y": 0.1, "seed": 0, "steps": 6}
    with pytest.warns(PriorMismatch, match=r"not what the prior knows \(draws of a Gaussian\)") as caught:
        result = invdiff.solve(measured(), mri(), knowing(gain=20.0), "dds", **options)
    assert result.status.startswith("finished after 6 steps; 2 of 2 images, the worst: not what")
    assert caught[0].filename == __file__
    with pytest.warns(PriorMismatch, match="not scaled as those the prior knows"):
        result = invdiff.solve(measured(), mri(), knowing(spread=9.0), "dds", **options)
    assert result.status.endswith("check the scale")


def test_an_unusual_image_is_named_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invdiff.priors.mismatch.WORTH", -100.0)  # dB; warnings are errors here
    result = invdiff.solve(measured(), mri(), knowing(gain=20.0), "dds", sigma_y=0.1, seed=0, steps=6)
    assert "the worst: unusual for the prior (draws of a Gaussian), which may still help" in result.status
    assert "prefer" not in result.status


def test_methods_without_a_prior_are_not_judged_by_it() -> None:
    result = invdiff.solve(measured(), mri(), knowing(gain=20.0), "cg", sigma_y=0.1)
    assert "prior" not in result.status
