"""Priors on tiles: equal to the whole image where tiles do not matter, seams that move, memory that does not grow."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from invdiff.networks.drunet import DRUNet, coordinate_grid
from invdiff.operators import Identity
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.network import NetworkPrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.prior import denoise_vjp
from invdiff.priors.tiled import Axis, Shift, TiledPrior, ramps, reflected
from invdiff.solve import solve
from invdiff.testing_prior import check_prior
from tests.priors.models import normal
from tests.priors.test_patch_mixture import phased, shapes

SIZES = [(16, 16), (17, 40), (33, 9), (5, 3)]


def network(is_complex: bool = True, coordinates: bool = False) -> NetworkPrior:
    channels = 2 if is_complex else 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DRUNet(channels, channels, widths=(4, 8), blocks=1, embedding=8, coordinates=coordinates)
        for p in net.parameters():
            p.data = 0.2 * torch.randn(p.shape)
    return NetworkPrior(net, sigma_data=0.5, complex=is_complex)


def pointwise() -> NetworkPrior:
    """D(x) depends on the pixel, the channel and sigma alone."""

    class Pointwise(torch.nn.Module):
        def forward(self, x: Tensor, noise: Tensor) -> Tensor:
            return torch.tanh(x * (1 + noise[:, None, None, None] ** 2))

    return NetworkPrior(Pointwise(), sigma_data=0.5, complex=True)


@pytest.fixture(scope="module")
def fitted() -> PatchMixturePrior:
    return PatchMixturePrior.fit(shapes(30), components=8, rank=8, patches=4000, iterations=10)


def image(size: tuple[int, int], batch: int = 2, is_complex: bool = True) -> Tensor:
    dtype = torch.complex64 if is_complex else torch.float32
    return normal(batch, 1, *size, dtype=dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shift", [None, "fixed", "random"])
@pytest.mark.parametrize("overlap", [0, 5, 12])
def test_a_pointwise_prior_does_not_see_the_tiles(size: tuple[int, int], shift: Shift, overlap: int) -> None:
    x, sigma = image(size), torch.tensor([0.3, 1.0])
    tiled = TiledPrior(pointwise(), 16, overlap, shift=shift, padding="zero", batch=3)
    for _ in range(2):
        assert_close(tiled(x, sigma), pointwise()(x, sigma), rtol=1e-5, atol=1e-6)  # shares in single precision


@pytest.mark.parametrize("n", [3, 16, 17, 31, 100])
@pytest.mark.parametrize("overlap", [0, 1, 7, 15])
@pytest.mark.parametrize("shift", [None, "fixed", "random"])
def test_shares_sum_to_one(n: int, overlap: int, shift: Shift) -> None:
    tiled = TiledPrior(pointwise(), 16, overlap, shift=shift, seed=n)
    axis = tiled._axis(0, n, torch.device("cpu"))
    total = torch.zeros(n, dtype=torch.float64).index_put((axis.index,), axis.share, accumulate=True)
    assert_close(total, torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-15)
    assert not bool(axis.share[~axis.inside].any())


def test_shares_are_smooth_where_tiles_meet() -> None:
    axis = Axis.of(torch.tensor([0, 12]), 28, 16, 4, True)
    assert_close(axis.share[0, 12:] + axis.share[1, :4], torch.ones(4, dtype=torch.float64))
    assert_close(axis.share[0, 12:], ramps(16, 4)[12:])
    assert float(axis.share[0].diff().abs().max()) < 0.5


def test_reflection() -> None:
    at = torch.arange(-5, 9)
    assert reflected(at, 4).tolist() == [1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert not bool(reflected(at, 1).any())


@pytest.mark.parametrize("is_complex", [True, False])
def test_a_small_receptive_field_sees_seams_only_near_them(is_complex: bool) -> None:
    prior, x = network(is_complex), image((48, 48), is_complex=is_complex)
    tiled = TiledPrior(prior, 32, 16, batch=2)
    whole, out = prior(x, 0.3), tiled(x, 0.3)
    assert_close(out[..., :12, :12], whole[..., :12, :12], rtol=1e-4, atol=1e-5)  # the field reaches about 12 pixels
    assert float((out - whole).abs().max()) > 1e-3  # and tiles do differ somewhere


def test_patches_inside_tiles_are_the_patches_of_the_image(fitted: PatchMixturePrior) -> None:
    prior = PatchMixturePrior(fitted.mixture, 8, 4)
    x = shapes(1, 40, 40, seed=3) + 0.1 * normal(1, 1, 40, 40).float()
    out = TiledPrior(prior, 24, 8)(x, 0.1)  # tiles begin at 0 and 16, patches every 4
    assert_close(out[..., :16, :16], prior(x, 0.1)[..., :16, :16], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shift", [None, "fixed"])
@pytest.mark.parametrize("is_complex", [True, False])
def test_keeps_the_protocol(fitted: PatchMixturePrior, shift: Shift, is_complex: bool) -> None:
    prior, images = fitted, shapes(4, seed=5)
    if is_complex:
        prior, images = fitted.as_complex(), phased(images)
    check_prior(TiledPrior(prior, 24, 8, shift=shift), images)


def test_shifts_depend_on_the_seed_and_the_call_alone() -> None:
    x = image((40, 40), 1)
    first, again, other = (TiledPrior(network(), 16, 0, shift="random", seed=s) for s in (1, 1, 2))
    runs = [[prior(x, 0.3) for _ in range(3)] for prior in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][0], runs[0][1])
    assert not torch.equal(runs[0][0], runs[2][0])
    still = TiledPrior(network(), 16, 0, shift="fixed", seed=1)
    assert torch.equal(still(x, 0.3), still(x, 0.3))
    first.calls = 0
    assert torch.equal(first(x, 0.3), runs[0][0])


def test_a_sample_does_not_depend_on_its_batch() -> None:
    x, sigma = image((20, 40), 3), torch.tensor([0.1, 0.3, 1.0])
    together = TiledPrior(network(), 16, 4, shift="random", batch=5)(x, sigma)
    for i in range(3):
        alone = TiledPrior(network(), 16, 4, shift="random", batch=5)(x[i : i + 1], float(sigma[i]))
        assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)  # another batch layout


@pytest.mark.parametrize("padding", ["reflect", "zero"])
def test_the_gradient_is_that_of_all_tiles_at_once(padding: str) -> None:
    x, v = image((24, 31)), normal(2, 1, 24, 31, dtype=torch.complex64, seed=3)
    arguments = {"shift": "fixed", "padding": padding}
    few = TiledPrior(network(), 16, 4, batch=2, **arguments)  # type: ignore[arg-type]
    all_at_once = TiledPrior(network(), 16, 4, batch=1000, **arguments)  # type: ignore[arg-type]
    (x0, pull), (known, known_pull) = denoise_vjp(few, x, 0.3), denoise_vjp(all_at_once, x, 0.3)
    assert_close(x0, known, rtol=1e-4, atol=1e-5)  # another batch layout
    assert_close(pull(v), known_pull(v), rtol=1e-4, atol=1e-5)
    tiled = TiledPrior(pointwise(), 16, 4, batch=2, **arguments)  # type: ignore[arg-type]
    (_, pull), (_, known_pull) = denoise_vjp(tiled, x, 0.3), denoise_vjp(pointwise(), x, 0.3)
    assert_close(pull(v), known_pull(v), rtol=1e-4, atol=1e-5)


def kept(prior: TiledPrior, x: Tensor) -> int:
    """Bytes kept for the backward pass."""
    seen: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        seen[t.data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        prior(x.requires_grad_(), 0.3)
    return sum(seen.values())


def test_memory_is_that_of_one_batch_of_tiles() -> None:
    x = image((64, 64), 1)
    bounded, unbounded = (kept(TiledPrior(network(), 16, 0, batch=b), x) for b in (2, 1000))
    assert bounded < 0.2 * unbounded


def test_tiles_know_their_place() -> None:
    class Echo(torch.nn.Module):
        """F = the coordinates."""

        coordinates = True

        def forward(self, x: Tensor, noise: Tensor, coordinates: Tensor) -> Tensor:
            return coordinates.expand_as(x)

    prior = NetworkPrior(Echo(), sigma_data=1.0)
    x = torch.zeros(1, 2, 40, 21)
    whole = prior(x, 1.0)
    assert_close(whole, coordinate_grid(40, 21) / 2**0.5)
    for shift in (None, "random"):
        assert_close(TiledPrior(prior, 16, 4, shift=shift)(x, 1.0), whole, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]
    net = network(coordinates=True)
    assert net.coordinates
    assert TiledPrior(net, 16)(image((20, 20)), 0.3).shape == (2, 1, 20, 20)


def test_solve_takes_it() -> None:
    x0 = 0.3 * image((40, 24), 1)
    op = Identity((1, 40, 24))
    prior = TiledPrior(network(), 16, 0, shift="random")
    result = solve(op(x0), op, prior, "sitcom", sigma_y=0.05, seed=0, steps=2, inner=2)
    assert result.x.shape == x0.shape


def test_what_cannot_be_is_refused() -> None:
    gauss = GaussianPrior.stationary(torch.zeros(1, 16, 16), torch.ones(1, 16, 16))
    assert TiledPrior(gauss, 16, 4).shape == (1, None, None)
    with pytest.raises(ValueError, match="a tile of 8 x 8 is not"):
        TiledPrior(gauss, 8, 4)
    with pytest.raises(ValueError, match="overlap must be at least 0 and at most 15"):
        TiledPrior(gauss, 16, 16)
    with pytest.raises(ValueError, match="shift must be one of"):
        TiledPrior(gauss, 16, shift="radnom", overlap=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="takes images"):
        TiledPrior(gauss, 16, 4)(torch.zeros(1, 2, 20, 20), 0.1)
