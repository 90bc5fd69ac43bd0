"""check_prior passes good priors and catches each planted fault."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.patch_mixture import PatchMixturePrior
from invdiff.priors.prior import per_sample
from invdiff.shapes import over
from invdiff.testing_prior import check_prior
from tests.priors.models import COMPLEX, KINDS, low_rank, mixture, normal, stationary
from tests.priors.test_patch_mixture import phased, shapes

Fault = Callable[[GaussianPrior, Tensor, Tensor], Tensor]


@pytest.mark.parametrize("dtype", [*KINDS, torch.float32, torch.complex64])
@pytest.mark.parametrize("build", [low_rank, stationary, mixture])
def test_exact_priors_pass(build: Callable[..., nn.Module], dtype: torch.dtype) -> None:
    check_prior(build((1, 8, 7), dtype))


def test_other_images_than_its_own_draws() -> None:
    truth = stationary((1, 12, 11), torch.complex64)
    check_prior(GaussianPrior.fit(truth.sample(400, 1), rank=40), truth.sample(8, 2))


def test_patch_mixture_passes() -> None:
    prior = PatchMixturePrior.fit(shapes(30), components=8, rank=8, patches=4000, iterations=10)
    check_prior(prior, shapes(4, seed=5))
    check_prior(prior.as_complex(), phased(shapes(4, seed=5)))
    check_prior(prior)  # without images: everything but the quality


class Faulty(nn.Module):
    """A right prior with a fault planted in D."""

    def __init__(self, fault: Fault, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.good, self.fault = low_rank((1, 8, 7), dtype), fault
        self.calls = 0
        for name in ("shape", "range", "complex", "sigma_min", "sigma_max", "domain", "percentile", "window"):
            setattr(self, name, getattr(self.good, name))

    def sample(self, n: int, seed: int) -> Tensor:
        return self.good.sample(n, seed)

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        return self.fault(self.good, x, per_sample(sigma, x))


def in_place(good: GaussianPrior, x: Tensor, s: Tensor) -> Tensor:
    with torch.no_grad():
        x += 1.0
    return good(x, s)


FAULTS: dict[str, tuple[Fault, str]] = {
    "wrong sign": (lambda good, x, s: 2 * x - good(x, s), "wrong sign or sigma"),
    "score instead of denoiser": (lambda good, x, s: (good(x, s) - x) / over(s, x) ** 2, "wrong sign or sigma"),
    "noise instead of denoiser": (lambda good, x, s: (x - good(x, s)) / over(s, x), "wrong sign or sigma"),
    "sigma doubled": (lambda good, x, s: good(x, 2 * s), "rms error of D"),
    "sigma halved": (lambda good, x, s: good(x, s / 2), "rms error of D"),
    "sigma squared": (lambda good, x, s: good(x, s**2), "rms error of D"),
    "identity": (lambda good, x, s: x + 0.0, "wrong sign or sigma"),
    "half the way": (lambda good, x, s: (x + good(x, s)) / 2, "rms error of D"),
    "a constant offset": (lambda good, x, s: good(x, s) + 0.3, "wrong sign or sigma"),
    "batch coupled": (lambda good, x, s: good(x - x.mean(0), s) + x.mean(0), "depends on its batch"),
    "one sigma for all": (lambda good, x, s: good(x, s[:1]), "one sigma per sample"),
    "no gradient": (lambda good, x, s: good(x.detach(), s), "cannot be differentiated"),
    "half a gradient": (lambda good, x, s: (good(x, s) + good(x.detach(), s)) / 2, "finite differences"),
    "other dtype": (lambda good, x, s: torch.view_as_real(good(x, s) + 0j)[..., 0].double(), "must look like x"),
    "other shape": (lambda good, x, s: good(x, s)[:, 0], "must look like x"),
    "sigma kept below 2": (lambda good, x, s: good(x, s.clamp(max=2)), "at sigma_max 80 fresh noise"),
    "another mean at large sigma": (lambda good, x, s: good(x, s) + over(2.0 * (s > 40), x), "its error is"),
    "not a number": (lambda good, x, s: good(x, s) / torch.zeros_like(x), "NaN or infinity"),
    "changes x": (in_place, "changed the x"),
    "fresh noise": (lambda good, x, s: good(x, s) + torch.rand(()), "two calls"),
}


def test_right_prior_in_the_same_wrapping_passes() -> None:
    check_prior(Faulty(lambda good, x, s: good(x, s)))
    check_prior(Faulty(lambda good, x, s: good(x, s), torch.complex64))


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_planted_faults_are_caught(name: str, dtype: torch.dtype) -> None:
    fault, says = FAULTS[name]
    with torch.random.fork_rng(), pytest.raises(AssertionError, match=says):
        check_prior(Faulty(fault, dtype))


def test_wrong_vjp_is_caught() -> None:
    class Wrong(Faulty):
        def vjp(self, x: Tensor, sigma: Tensor | float, v: Tensor) -> Tensor:
            return -self.good.vjp(x, sigma, v)

    with pytest.raises(AssertionError, match="vjp differs"):
        check_prior(Wrong(lambda good, x, s: good(x, s)))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("range", (1.0, -1.0), "low < high"),
        ("complex", "yes", "complex must be"),
        ("sigma_min", 100.0, "sigma_min < sigma_max"),
        ("domain", None, "domain"),
        ("shape", (1, 8, 8), "the images are"),
        ("complex", True, "the images are"),
    ],
)
def test_wrong_attributes_are_caught(name: str, value: object, says: str) -> None:
    prior = low_rank((1, 8, 7), torch.float32)
    images = prior.sample(4, 0)
    setattr(prior, name, value)
    with pytest.raises(AssertionError, match=says):
        check_prior(prior, images)


def test_missing_attributes_are_named() -> None:
    prior = Faulty(lambda good, x, s: good(x, s))
    del prior.window, prior.domain
    with pytest.raises(AssertionError, match="domain, window"):
        check_prior(prior)


def test_images_of_another_scale_are_noticed() -> None:
    prior = low_rank((1, 8, 7), torch.complex64)
    with pytest.raises(AssertionError):
        check_prior(prior, 30 * normal(4, 1, 8, 7, dtype=COMPLEX).to(torch.complex64))
