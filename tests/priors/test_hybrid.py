"""Network below, Gaussian above: which part answers where, gradients in every region, teleportation, files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.networks import build
from invdiff.priors.checkpoints import load_prior, save_prior
from invdiff.priors.coarse import CoarseGaussian
from invdiff.priors.counted import Counted
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.hybrid import HybridPrior
from invdiff.priors.hybrid_file import save_hybrid
from invdiff.priors.network import NetworkPrior
from invdiff.priors.prior import Prior, denoise_vjp, teleport
from invdiff.priors.supported import Supported
from invdiff.testing import check_prior
from tests.priors.models import COMPLEX, KINDS, REAL, low_rank, normal, stationary

SHAPE = (1, 5, 4)
LOW, HIGH = 2.0, 4.0  # the fade of these tests: an octave around its geometric mean
SWITCH = 8**0.5
TIGHT = {"rtol": 1e-10, "atol": 1e-11}  # double precision, as in the tests of the Gaussian prior


class Watched:
    """A prior that remembers the noise levels it was asked at."""

    def __init__(self, prior: Prior, **attributes: Any) -> None:
        self.prior, self.seen, self.attributes = prior, [], attributes

    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__["attributes"]
        return attributes[name] if name in attributes else getattr(self.__dict__["prior"], name)

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        assert len(x) > 0
        self.seen += torch.as_tensor(sigma).expand(len(x)).tolist()
        return self.prior(x, sigma)


class Curved:
    """A nonlinear denoiser without closed forms, so that autograd has work to do."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.shape, self.range, self.complex = None, (-1.0, 1.0), dtype.is_complex
        self.sigma_min, self.sigma_max, self.domain, self.percentile, self.window = 0.01, 10.0, "", 99.0, None

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        return x / (1 + (x * x.conj()).real) ** 0.5


def hybrid(dtype: torch.dtype = REAL) -> tuple[HybridPrior, Watched]:
    net = Watched(Curved(dtype))
    return HybridPrior(net, low_rank(SHAPE, dtype), SWITCH), net


def coarse(is_complex: bool) -> CoarseGaussian:
    images = normal(60, 1, 12, 12, dtype=COMPLEX if is_complex else REAL).cumsum(-1).cumsum(-2) / 30
    return CoarseGaussian.fit(images, rank=10, grid=7)


@pytest.mark.parametrize("dtype", KINDS)
def test_each_level_has_its_part(dtype: torch.dtype) -> None:
    prior, net = hybrid(dtype)
    x = normal(2, *SHAPE, dtype=dtype, seed=7)
    assert prior.fade(SHAPE) == pytest.approx((LOW, HIGH))
    assert_close(prior(x, 1.9), net.prior(x, 1.9), rtol=0, atol=0)
    assert_close(prior(x, 4.1), prior.gaussian(x, 4.1), rtol=0, atol=0)
    # the middle of the fade in log sigma: both count half
    assert_close(prior(x, SWITCH), (net.prior(x, SWITCH) + prior.gaussian(x, SWITCH)) / 2, **TIGHT)


def test_the_fade_is_smooth_in_log_sigma() -> None:
    prior, _ = hybrid()
    w = torch.stack([prior._weight(s, 1, SHAPE) for s in torch.logspace(0, 4, 401, 2.0).tolist()])[:, 0]
    assert float(w[0]) == 0
    assert float(w[-1]) == 1
    assert float(w.diff().min()) > -1e-14  # rounding near 1
    slope = w.diff() * 100  # per octave: 0 at both ends, 3/2 in the middle
    assert float(slope.max()) == pytest.approx(1.5, rel=1e-3)
    assert float(slope.diff().abs().max()) < 0.07  # the second difference of 3 t^2 - 2 t^3 over 0.01 is 0.06


def test_the_network_is_called_for_the_samples_that_need_it() -> None:
    prior, net = hybrid()
    x = normal(5, *SHAPE, seed=7)
    sigma = torch.tensor([80.0, 0.5, 3.0, 4.5, 1.0], dtype=REAL)
    out = prior(x, sigma)
    assert sorted(net.seen) == [0.5, 1.0, 3.0]
    alone = torch.cat([prior(x[i : i + 1], float(sigma[i])) for i in range(5)])
    assert_close(out, alone, **TIGHT)
    net.seen.clear()
    prior(x, 5.0)
    prior.denoise_vjp(x, 80.0)
    assert net.seen == []


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("sigma", [0.5, 3.0, 6.0])
def test_gradients_are_those_of_autograd(dtype: torch.dtype, sigma: float) -> None:
    prior, net = hybrid(dtype)
    x, v = normal(3, *SHAPE, dtype=dtype, seed=7), normal(3, *SHAPE, dtype=dtype, seed=8)
    leaf = x.clone().requires_grad_()
    (pull,) = torch.autograd.grad(prior(leaf, sigma), leaf, v)
    net.seen.clear()
    x0, closed = denoise_vjp(prior, x, sigma)
    assert not x0.requires_grad
    assert_close(x0, prior(x, sigma), **TIGHT)
    assert_close(closed(v), pull, **TIGHT)
    assert_close(prior.vjp(x, sigma, v), pull, **TIGHT)


@pytest.mark.parametrize("dtype", KINDS)
def test_gradients_of_a_batch_over_all_regions(dtype: torch.dtype) -> None:
    prior, _ = hybrid(dtype)
    x, v = normal(4, *SHAPE, dtype=dtype, seed=7), normal(4, *SHAPE, dtype=dtype, seed=8)
    sigma = torch.tensor([6.0, 0.5, 3.0, 2.5], dtype=REAL)
    leaf = x.clone().requires_grad_()
    (pull,) = torch.autograd.grad(prior(leaf, sigma), leaf, v)
    assert_close(prior.vjp(x, sigma, v), pull, **TIGHT)


@pytest.mark.parametrize("build_prior", [low_rank, stationary])
def test_it_keeps_the_protocol(build_prior: Callable[..., GaussianPrior]) -> None:
    gaussian = build_prior(SHAPE)
    prior = HybridPrior(gaussian, gaussian, SWITCH)
    assert isinstance(prior, Prior)
    check_prior(prior, gaussian.sample(8, 0), sigmas=(0.5, 2.5, 3.0, 6.0))


def test_a_network_that_is_told_the_wrong_level_does_not_pass() -> None:
    gaussian = low_rank(SHAPE)

    class Deaf(Watched):
        def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
            return super().__call__(x, 0.3)

    with pytest.raises(AssertionError, match="sigma"):
        check_prior(HybridPrior(Deaf(gaussian), gaussian, SWITCH), gaussian.sample(8, 0), sigmas=(0.5, 3.0, 6.0))


def test_attributes_are_the_networks() -> None:
    prior, net = hybrid()
    for name in ("range", "complex", "sigma_min", "sigma_max", "domain", "percentile", "window"):
        assert getattr(prior, name) == getattr(net, name)
    assert prior.sigma_start == 80.0
    assert prior.shape == SHAPE


def test_the_switch_follows_the_image_size() -> None:
    model = coarse(False)
    prior = HybridPrior(Curved(REAL), model, 2.0)
    assert prior.shape == (1, None, None)
    assert prior.fade((1, 12, 12)) == pytest.approx((2**0.5, 8**0.5))
    assert prior.fade((1, 24, 12)) == pytest.approx((2.0, 4.0))  # twice the pixels: sqrt(2)
    assert prior.fade((1, 99, 99)) == pytest.approx((5.0, 10.0))  # the network is not asked above its sigma_max
    x = normal(1, 1, 24, 12, seed=3)
    assert_close(prior(x, 4.5), model.at((1, 24, 12))(x, 4.5), rtol=0, atol=0)


GRID = [80.0, 20.0, 7.0, 4.5, 3.0, 1.0, 0.1, 0.0]


@pytest.mark.parametrize("dtype", KINDS)
def test_teleportation_goes_down_to_the_lowest_level_above_the_fade(dtype: torch.dtype) -> None:
    prior, net = hybrid(dtype)
    x = 80 * normal(2, *SHAPE, dtype=dtype, seed=7)
    out, rest = teleport(prior, x, GRID)
    assert rest == [4.5, 3.0, 1.0, 0.1, 0.0]
    assert_close(out, prior.gaussian.flow(x, 80.0, 4.5), **TIGHT)
    assert net.seen == []
    for start in (3.0, 4.5):  # nothing to pass
        levels = [s for s in GRID if s <= start]
        same, rest = prior.teleport(x, levels)
        assert same is x
        assert rest == levels


def test_teleportation_may_go_lower_than_where_it_is_exact() -> None:
    prior = HybridPrior(Curved(REAL), coarse(False), 2.0, sigma_teleport=1.0)
    x = 80 * normal(1, 1, 12, 12)
    assert prior.teleport(x, GRID)[1] == [1.0, 0.1, 0.0]
    x = 80 * normal(1, 1, 24, 24)
    out, rest = prior.teleport(x, GRID)
    assert rest == [3.0, 1.0, 0.1, 0.0]  # 1 on 12 x 12 pixels is 2 on 24 x 24
    assert_close(out, prior._gaussian((1, 24, 24)).flow(x, 80.0, 3.0), **TIGHT)


def test_plain_priors_do_not_teleport() -> None:
    x = normal(1, *SHAPE)
    out, rest = teleport(low_rank(SHAPE), x, GRID)
    assert out is x
    assert rest == GRID


def test_wrappers_pass_teleportation_on() -> None:
    prior, _ = hybrid()
    x, support = 80 * normal(2, *SHAPE, seed=7), torch.ones(SHAPE, dtype=torch.bool)
    support[..., 0] = False
    counted = Counted(Supported(prior, support))
    out, rest = teleport(counted, x, GRID)
    assert (counted.skipped, counted.nfe, rest) == (3, 0, GRID[3:])
    inside, _ = prior.teleport(x, GRID)
    assert_close(out[..., 1:], inside[..., 1:], **TIGHT)
    assert_close(out[..., 0], x[..., 0] * (4.5 / 80), **TIGHT)  # the flow of D = 0
    plain = Counted(low_rank(SHAPE))
    assert teleport(plain, x, GRID)[1] == GRID
    assert plain.skipped == 0


@pytest.fixture
def saved(tmp_path: Path) -> tuple[HybridPrior, Path]:
    config = {"in_channels": 2, "out_channels": 2, "widths": [4, 6]}
    torch.manual_seed(0)
    net = NetworkPrior(build("drunet", config), sigma_data=0.5, complex=True, percentile=99.5, domain="tests")
    save_prior(net, "drunet", config, tmp_path / "net.safetensors", {})
    prior = HybridPrior(load_prior(tmp_path / "net.safetensors"), coarse(True), 3.0, 0.5, 2.0)
    save_hybrid(prior, tmp_path / "net.safetensors", tmp_path / "both.safetensors", {"data": "made up"})
    return prior, tmp_path / "both.safetensors"


def test_a_saved_prior_is_the_same_prior(saved: tuple[HybridPrior, Path]) -> None:
    prior, path = saved
    again = load_prior(path)
    assert isinstance(again, HybridPrior)
    assert (again.sigma_switch, again.octaves, again.sigma_teleport) == (3.0, 0.5, 2.0)
    assert (again.domain, again.percentile) == ("tests", 99.5)
    x = normal(2, 1, 12, 12, dtype=COMPLEX).to(torch.complex64)
    for sigma in (0.5, 3.0, 5.0):
        # the network is stored exactly, it was in half precision before; components to 2^-11
        assert_close(again(x, sigma), prior(x, sigma), rtol=0.0, atol=2e-3)
    assert json.loads(path.with_suffix(".json").read_text())["card"] == {"data": "made up"}


def test_options_reach_the_switch_and_the_network(saved: tuple[HybridPrior, Path]) -> None:
    again = load_prior(saved[1], sigma_switch=2.0, domain="other")
    assert isinstance(again, HybridPrior)
    assert (again.sigma_switch, again.domain) == (2.0, "other")
    with pytest.raises(TypeError, match="no option 'sigma_swich'"):
        load_prior(saved[1], sigma_swich=2.0)


def test_its_network_can_be_optimized(saved: tuple[HybridPrior, Path]) -> None:
    prior, _ = saved
    again = prior.optimized("fp32", channels_last=False)
    assert isinstance(again.net, NetworkPrior)
    assert again.net.memory_format == torch.contiguous_format
    x = normal(1, 1, 12, 12, dtype=COMPLEX).to(torch.complex64)
    assert_close(again(x, 1.0), prior(x, 1.0), rtol=1e-4, atol=1e-5)  # single precision, other memory order
    assert again.teleport(80 * x, GRID)[1] == prior.teleport(80 * x, GRID)[1]
    with pytest.raises(TypeError, match="no optimized form"):
        hybrid()[0].optimized()


def test_another_network_in_its_place_is_refused(saved: tuple[HybridPrior, Path]) -> None:
    _, path = saved
    config = {"in_channels": 2, "out_channels": 2, "widths": [4, 8]}
    other = NetworkPrior(build("drunet", config), sigma_data=0.5, complex=True)
    save_prior(other, "drunet", config, path.with_name("net.safetensors"), {})
    with pytest.raises(ValueError, match="belongs to another network"):
        load_prior(path)


def test_an_altered_gaussian_is_refused(saved: tuple[HybridPrior, Path]) -> None:
    _, path = saved
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="altered"):
        load_prior(path)


def test_what_is_not_a_file_of_its_own_is_refused(saved: tuple[HybridPrior, Path], tmp_path: Path) -> None:
    prior, path = saved
    with pytest.raises(ValueError, match="another file in the folder"):
        save_hybrid(prior, tmp_path / "net.safetensors", tmp_path / "net.safetensors")
    with pytest.raises(TypeError, match="CoarseGaussian"):
        save_hybrid(hybrid()[0], tmp_path / "net.safetensors", path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: HybridPrior(Curved(REAL), low_rank(dtype=COMPLEX), 2.0), "real images, the Gaussian of complex"),
        (lambda: HybridPrior(Curved(REAL), low_rank(), 9.0), "sigma_switch"),
        (lambda: HybridPrior(Curved(REAL), low_rank(), 2.0, 0.0), "octaves"),
        (lambda: HybridPrior(Curved(REAL), low_rank(), 2.0, sigma_teleport=3.0), "sigma_teleport"),
        (lambda: HybridPrior(low_rank((1, 6, 4)), low_rank(), 2.0), "takes images"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make: Callable[[], HybridPrior], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
