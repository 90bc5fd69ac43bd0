"""AdaptedPrior against exact Gaussian denoisers seen through other channels, units and sizes."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import invdiff
from invdiff.diffusion.precondition import EDM, Direct, Epsilon
from invdiff.diffusion.vp import Schedule
from invdiff.operators.inpainting import Inpainting
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.checkpoints import load_prior, save_prior
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.network import NetworkPrior
from invdiff.priors.prior import Prior, denoise_vjp
from invdiff.priors.reference import ReferenceStatistics
from invdiff.testing import check_prior
from tests.priors.models import low_rank, normal, orthonormal

LEVELS = {"sigma_min": 0.01, "sigma_max": 10.0}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # networks are called in float32


def real(shape: tuple[int, ...] = (1, 6, 5)) -> GaussianPrior:
    return low_rank(shape).float()


def noisy(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return normal(*shape, dtype=dtype.to_complex() if dtype.is_complex else dtype, seed=7)


def complex_noisy(*shape: int) -> Tensor:
    return noisy(*shape, dtype=torch.complex64)


class Epsilons(nn.Module):
    """eps of images N(0, 0.25) with the linear schedule; one weight, which is 1."""

    def __init__(self, gain: float = 1.0, width: int = 1) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([[gain]]))
        self.width, self.schedule = width, Schedule.linear()

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        sigma = self.schedule.sigma(t).to(x_t)[:, None, None, None]
        eps = x_t * (1 + sigma**2).sqrt() * sigma / (sigma**2 + 0.25)
        return self.gain * torch.cat([eps] * self.width, 1)


def white(**options: object) -> AdaptedPrior:
    return AdaptedPrior(Epsilons(), Epsilon(Schedule.linear()), **options)  # type: ignore[arg-type]


def test_a_callable_becomes_a_prior_in_one_line() -> None:
    prior = AdaptedPrior(Epsilons().forward, Epsilon(Schedule.linear()), channels="real")
    assert isinstance(prior, Prior)
    x = noisy(2, 1, 4, 4)
    torch.testing.assert_close(prior(x, 0.5), x / 2, **CLOSE)
    torch.testing.assert_close(prior(x, torch.tensor([0.5, 1.0]))[1], x[1] / 5, **CLOSE)
    assert (prior.sigma_min, prior.sigma_max) == pytest.approx((0.01, 157.4), rel=1e-3)


def test_real_channels_pass() -> None:
    net = real((3, 6, 5))
    x = noisy(2, 3, 6, 5)
    prior = AdaptedPrior(net, Direct(), net_channels=3, **LEVELS)
    torch.testing.assert_close(prior(x, 0.3), net(x, 0.3), **CLOSE)
    assert prior.shape == (3, None, None)


def test_complex_images_are_real_then_imaginary_channels() -> None:
    exact = GaussianPrior.low_rank(
        normal(2, 6, 5, dtype=torch.complex128, seed=2),
        orthonormal(3, (2, 6, 5), torch.complex128),
        torch.tensor([3.0, 2.0, 1.0]),
        0.1,
    ).to(torch.complex64)

    def net(z: Tensor, sigma: Tensor) -> Tensor:
        out = exact(torch.complex(z[:, :2], z[:, 2:]), sigma)
        return torch.cat([out.real, out.imag], 1)

    x, sigma = complex_noisy(2, 2, 6, 5), torch.tensor([0.2, 2.0])
    prior = AdaptedPrior(net, Direct(), channels="complex2", net_channels=4, **LEVELS)
    torch.testing.assert_close(prior(x, sigma), exact(x, sigma), **CLOSE)
    assert (prior.complex, prior.shape) == (True, (2, None, None))


def test_a_real_network_denoises_both_parts_each_at_its_own_level() -> None:
    net = real()
    x, sigma = complex_noisy(3, 1, 6, 5), torch.tensor([0.05, 0.5, 5.0])
    prior = AdaptedPrior(net, Direct(), channels="complex-split", net_channels=1, **LEVELS)
    torch.testing.assert_close(prior(x, sigma), torch.complex(net(x.real, sigma), net(x.imag, sigma)), **CLOSE)


@pytest.mark.parametrize("is_complex", [False, True])
def test_grey_images_are_copied_to_rgb_and_averaged_back(is_complex: bool) -> None:
    seen: list[Tensor] = []

    def net(z: Tensor, sigma: Tensor) -> Tensor:
        seen.append(z)
        return z * torch.tensor([1.0, 2.0, 6.0])[:, None, None]

    x = complex_noisy(2, 1, 4, 4) if is_complex else noisy(2, 1, 4, 4)
    prior = AdaptedPrior(net, Direct(), channels="replicate", complex=is_complex, **LEVELS)
    torch.testing.assert_close(prior(x, 0.3), 3 * x, **CLOSE)
    assert seen[0].shape == (4 if is_complex else 2, 3, 4, 4)
    torch.testing.assert_close(seen[0][:, 0], seen[0][:, 2])
    assert prior.shape == (1, None, None)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_a_network_on_another_range_is_the_prior_of_the_images_mapped(sigma: float) -> None:
    basis, variances = orthonormal(3, (1, 6, 5)), torch.tensor([0.4, 0.2, 0.1])
    mean = 0.5 + 0.1 * normal(1, 6, 5, seed=2)
    in_unit_range = GaussianPrior.low_rank(mean, basis, variances, 0.01).float()
    in_ours = GaussianPrior.low_rank(2 * mean - 1, basis, 4 * variances, 0.04).float()
    prior = AdaptedPrior(in_unit_range, Direct(), net_range=(0, 1), range=(-1, 1), **LEVELS)
    x = noisy(2, 1, 6, 5)
    torch.testing.assert_close(prior(x, sigma), in_ours(x, sigma), **CLOSE)
    forgotten = AdaptedPrior(in_unit_range, Direct(), net_range=(0, 1), **LEVELS)  # the planted fault: no mapping
    assert float((forgotten(x, sigma) - in_ours(x, sigma)).abs().max()) > 1e-2


def test_the_noise_levels_of_the_training_are_told_in_the_units_of_the_prior() -> None:
    schedule = Schedule.linear()
    prior = white(net_range=(0, 1), range=(-1, 1))
    assert (prior.sigma_min, prior.sigma_max) == pytest.approx((2 * schedule.sigma_min, 2 * schedule.sigma_max))


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (2, 3), (1, 1)])
def test_sizes_are_padded_by_reflection_and_cut_back(size: tuple[int, int]) -> None:
    seen: list[Tensor] = []

    def net(z: Tensor, sigma: Tensor) -> Tensor:
        seen.append(z)
        return z

    x = noisy(2, 1, *size)
    torch.testing.assert_close(AdaptedPrior(net, Direct(), multiple=4, **LEVELS)(x, 0.3), x, **CLOSE)
    height, width = (4 * math.ceil(n / 4) for n in size)
    assert seen[0].shape[-2:] == (height, width)
    if height < 2 * size[0] and width < 2 * size[1]:
        wide = nn.functional.pad(x, (0, width - size[1], 0, height - size[0]), mode="reflect")
        torch.testing.assert_close(seen[0], wide, **CLOSE)


def test_levels_outside_the_training_are_refused_by_number() -> None:
    prior = white()
    x = noisy(2, 1, 4, 4)
    for sigma in (0.009, 160.0, torch.tensor([0.5, 200.0])):
        with pytest.raises(ValueError, match=r"sigma from 0\.01 to 157\.4"):
            prior(x, sigma)
    with pytest.raises(ValueError, match="positive"):
        prior(x, 0.0)


def test_rounding_at_the_ends_is_no_fault() -> None:
    prior, x = white(), noisy(1, 1, 4, 4)
    for end in (prior.sigma_min * (1 - 5e-4), prior.sigma_max * (1 + 5e-4)):
        torch.testing.assert_close(prior(x, end), x * 0.25 / (0.25 + end**2), rtol=5e-3, atol=1e-5)


@pytest.mark.cuda
def test_on_a_device_a_level_outside_gives_nan_and_one_inside_the_same_as_here() -> None:
    prior, x = white(), noisy(2, 1, 4, 4)
    there = white().cuda()(x.cuda(), torch.tensor([0.5, 200.0], device="cuda")).cpu()
    torch.testing.assert_close(there[:1], prior(x[:1], 0.5), **CLOSE)
    assert bool(there[1].isnan().all())


def test_declared_levels_must_be_trained_ones() -> None:
    assert white(sigma_max=10.0).sigma_max == 10.0
    with pytest.raises(ValueError, match=r"157\.4"):
        white(sigma_max=1000.0)
    with pytest.raises(ValueError, match="pass sigma_min and sigma_max"):
        AdaptedPrior(Epsilons(), EDM(0.5))


def test_wrong_declarations_are_refused() -> None:
    for fault, word in (
        ({"channels": "rgb"}, "'replicate'"),
        ({"channels": "real", "complex": True}, "complex=False"),
        ({"channels": "complex2", "net_channels": 3}, "even"),
        ({"range": (1.0, -1.0)}, "low < high"),
        ({"channels": "complex2", "clip": True}, "never clipped"),
    ):
        with pytest.raises(ValueError, match=word):
            white(**fault)  # type: ignore[arg-type]


def test_images_of_another_kind_are_refused() -> None:
    prior = white(net_channels=1)
    with pytest.raises(TypeError, match="real"):
        prior(complex_noisy(1, 1, 4, 4), 0.5)
    with pytest.raises(ValueError, match=r"\(B, 1, any, any\)"):
        prior(noisy(1, 3, 4, 4), 0.5)
    with pytest.raises(TypeError, match="complex"):
        white(channels="complex2")(noisy(1, 1, 4, 4), 0.5)


def test_clipping_bounds_real_images() -> None:
    x = 100 * noisy(1, 1, 8, 8)
    out = white(clip=True)(x, 0.5)
    torch.testing.assert_close(out, (x / 2).clamp(-1, 1), **CLOSE)


def test_the_image_gradient_is_the_exact_one_and_weights_are_frozen() -> None:
    net = real()
    prior = AdaptedPrior(net, Direct(), channels="complex-split", net_range=(0, 1), range=(-2, 2), **LEVELS)
    x, v = complex_noisy(2, 1, 6, 5), complex_noisy(2, 1, 6, 5).flip(0)
    _, pull = denoise_vjp(prior, x, 0.8)
    exact = torch.complex(*(net.vjp(part / 4 + 0.5, 0.2, w) for part, w in ((x.real, v.real), (x.imag, v.imag))))
    torch.testing.assert_close(pull(v), exact, **CLOSE)
    frozen = AdaptedPrior(Epsilons().train(), Epsilon(Schedule.linear()))
    assert not frozen.net.training
    assert not any(p.requires_grad for p in frozen.parameters())


def test_dtype_comes_back() -> None:
    assert white()(noisy(1, 1, 4, 4).double(), 0.5).dtype == torch.float64


def test_it_keeps_the_protocol_and_a_wrong_sign_does_not() -> None:
    images = 0.5 * noisy(6, 1, 16, 16)
    check_prior(white(), images)
    wrong = AdaptedPrior(Epsilons(-1.0), Epsilon(Schedule.linear()))
    with pytest.raises(AssertionError, match="sigma"):
        check_prior(wrong, images)


def test_it_solves() -> None:
    x = 0.5 * noisy(1, 1, 8, 8)
    op = Inpainting((torch.arange(8) % 2 == 0).float(), (1, 8, 8))
    result = invdiff.solve(op(x), op, white(net_channels=1), method="dds", sigma_y=0.01, steps=8, seed=0, scale=1.0)
    torch.testing.assert_close(result.x[..., ::2], x[..., ::2], rtol=0, atol=0.05)


def guided(**options: object) -> AdaptedPrior:
    from invdiff.networks import build

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build("guided-unet", CONFIG)
    return AdaptedPrior(net, Epsilon(Schedule.linear()), channels="complex2", net_channels=2, **options)  # type: ignore[arg-type]


CONFIG = {"in_channels": 2, "out_channels": 2, "base": 32, "widths": [32, 32], "attention": [1], "head_width": 16}


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_prior_comes_back(tmp_path: Path, half: bool) -> None:
    prior = guided(multiple=2, percentile=99.0, domain="tests", range=(-2.0, 2.0), sigma_max=20.0)
    save_prior(prior, "guided-unet", CONFIG, tmp_path / "p.safetensors", {"data": "none"}, half=half)
    loaded = load_prior(tmp_path / "p.safetensors")
    assert isinstance(loaded, AdaptedPrior)
    assert loaded.to_dict() == prior.to_dict()
    x = complex_noisy(1, 1, 7, 8)
    torch.testing.assert_close(loaded(x, 0.4), prior(x, 0.4), **({"rtol": 1e-2, "atol": 1e-2} if half else CLOSE))
    size = (tmp_path / "p.safetensors").stat().st_size
    assert size < (0.6 if half else 1.1) * sum(4 * p.numel() for p in prior.parameters())


def test_what_was_declared_can_be_changed_on_loading(tmp_path: Path) -> None:
    save_prior(guided(), "guided-unet", CONFIG, tmp_path / "p.safetensors", {})
    loaded = load_prior(tmp_path / "p.safetensors", percentile=99.5, sigma_max=5.0)
    assert (loaded.percentile, loaded.sigma_max) == (99.5, 5.0)
    with pytest.raises(TypeError, match="percentile"):
        load_prior(tmp_path / "p.safetensors", percentil=99.5)


def test_noise_levels_of_a_file_follow_the_range_it_is_loaded_with(tmp_path: Path) -> None:
    from invdiff.networks import build

    path, images = tmp_path / "p.safetensors", 0.3 * noisy(12, 1, 8, 8, dtype=torch.complex64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build("guided-unet", CONFIG)
    prior = AdaptedPrior(net, EDM(0.5), channels="complex2", net_channels=2, **LEVELS)
    prior.reference_statistics = ReferenceStatistics((0.1, 0.2, 0.4), (1.0, 2.0, 3.0), (0.2, 0.3, 0.4), 12)
    save_prior(prior, "guided-unet", CONFIG, path, {}, half=False)
    wide = load_prior(path, range=(-2.0, 2.0))
    assert isinstance(wide, AdaptedPrior)
    assert (wide.sigma_min, wide.sigma_max) == pytest.approx((0.02, 20.0))
    torch.testing.assert_close(wide(2 * images, 0.6), 2 * prior(images, 0.3), **CLOSE)
    assert wide.reference_statistics is None  # they are in units of the file
    assert load_prior(path, range=(-2.0, 2.0), sigma_max=5.0).sigma_max == 5.0
    assert load_prior(path, percentile=99.0).reference_statistics == prior.reference_statistics


def test_vectors_stay_in_full_precision_in_a_half_file(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    save_prior(guided(), "guided-unet", CONFIG, tmp_path / "p.safetensors", {})
    stored = load_file(tmp_path / "p.safetensors")
    assert {t.dtype for t in stored.values() if t.ndim == 1} == {torch.float32}
    assert {t.dtype for t in stored.values() if t.ndim > 1} == {torch.float16}


def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    prior = guided()
    prior.net.get_parameter("out.2.weight").data[0, 0, 0, 0] = 1e6
    with pytest.raises(ValueError, match="half=False"):
        save_prior(prior, "guided-unet", CONFIG, tmp_path / "p.safetensors", {})
    assert not list(tmp_path.iterdir())


def test_a_function_is_not_saved(tmp_path: Path) -> None:
    prior = AdaptedPrior(Epsilons().forward, Epsilon(Schedule.linear()))
    with pytest.raises(ValueError, match="module"):
        save_prior(prior, "none", {}, tmp_path / "p.safetensors", {})


def test_altered_descriptions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_prior(guided(), "guided-unet", CONFIG, path, {})
    card = json.loads(path.with_suffix(".json").read_text())
    for change, word in (
        ({"kind": "adopted"}, "'adapted'"),
        ({"parameterisation": {"name": "epsilon"}}, "schedule"),
        ({"network": {**card["network"], "widths": [32, 64]}}, "mis-shaped"),
        ({"network": {**card["network"], "wide": 3}}, "does not describe"),
        ({"network": "guided-unet"}, "does not describe"),
    ):
        path.with_suffix(".json").write_text(json.dumps({**card, **change}))
        with pytest.raises(ValueError, match=word):
            load_prior(path)


def test_loading_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    prior = load_prior("brain-mri")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert isinstance(prior, NetworkPrior)


class Dropping(nn.Module):
    """A network with everything that training switches on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1), nn.Dropout(0.5))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


@pytest.mark.parametrize(
    "make", [lambda net: AdaptedPrior(net, Direct(), **LEVELS), lambda net: NetworkPrior(net, sigma_data=0.5)]
)
def test_a_model_around_a_prior_does_not_put_it_into_training(make: Callable[[nn.Module], nn.Module]) -> None:
    prior, x = make(Dropping()), noisy(2, 1, 6, 5)
    before = prior(x, 0.5)
    nn.ModuleList([prior]).train()
    assert not prior.net.training
    assert torch.equal(prior(x, 0.5), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_refused_with_the_remedy(dtype: torch.dtype) -> None:
    net = Dropping().to(dtype)
    for make in (lambda: AdaptedPrior(net, Direct(), **LEVELS), lambda: NetworkPrior(net, sigma_data=0.5)):
        with pytest.raises(TypeError, match=r"float.* Pass net\.float\(\)"):
            make()


def test_a_network_that_returns_no_tensor_is_named() -> None:
    prior = AdaptedPrior(lambda x, noise: {"sample": x}, Direct(), **LEVELS)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match=r"returned dict where a tensor is wanted.*\.sample"):
        prior(noisy(1, 1, 6, 5), 0.5)


def test_arguments_that_cannot_be_are_refused_when_the_prior_is_made() -> None:
    with pytest.raises(TypeError, match=r"parameterisation must be one of .*, got 'epsilon'"):
        AdaptedPrior(Dropping(), "epsilon")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple must be at least 1, got 0"):
        AdaptedPrior(Dropping(), Direct(), multiple=0, **LEVELS)
