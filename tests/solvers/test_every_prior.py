"""Every solver runs with every kind of prior, and brings the image nearer to the data than where it began."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import invdiff
from invdiff.networks import build
from invdiff.operators import Inpainting
from invdiff.priors import (
    EDM,
    AdaptedPrior,
    CoarseGaussian,
    GaussianMixturePrior,
    GaussianPrior,
    HybridPrior,
    LocalWienerPrior,
    NetworkPrior,
    PatchMixturePrior,
    Prior,
    TiledPrior,
)
from invdiff.random import streams
from invdiff.solvers import METHODS

SIZE = 16
SHORT: dict[str, dict[str, Any]] = {
    "dps": {"steps": 60},
    "sitcom": {"steps": 8, "inner": 10, "lr": 0.1},
    "dds": {"steps": 8},
    "udig-dip": {"rounds": 2, "every": 15, "lr": 1e-2, "channels": 8, "steps": 8},
    "pigdm": {"steps": 30},
    "ddnm": {"steps": 8},
    "ddrm": {"steps": 8},
    "diffpir": {"steps": 8},
    "red-diff": {"steps": 30},
    "daps": {"steps": 8},
    "pnp-dm": {"steps": 8},
    "dcdp": {"steps": 4},
    "dc-pnp": {"steps": 8},
}


def images(n: int = 60) -> torch.Tensor:
    noise = streams(0, n)[0].like(torch.zeros(n, 1, SIZE + 4, SIZE + 4))
    return torch.nn.functional.avg_pool2d(noise, 5, 1)


def network() -> NetworkPrior:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build("drunet", {"in_channels": 1, "out_channels": 1, "widths": [8, 8], "blocks": 1})
    return NetworkPrior(net, sigma_data=0.3)


KINDS: dict[str, Callable[[], Prior]] = {
    "network": network,
    "adapted": lambda: AdaptedPrior(
        network().net, EDM(0.3), channels="real", net_channels=1, sigma_min=0.01, sigma_max=10.0
    ),
    "gaussian": lambda: GaussianPrior.fit(images(), rank=8),
    "stationary": lambda: GaussianPrior.fit(images(), "stationary"),
    "mixture": lambda: GaussianMixturePrior.fit(images(), 2, 4),
    "patch mixture": lambda: PatchMixturePrior.fit(images(), 4, 4, patches=2000),
    "local Wiener": lambda: LocalWienerPrior.fit(images()),
    "hybrid": lambda: HybridPrior(network(), CoarseGaussian.fit(images(), 8, 7), 2.0),
    "tiled": lambda: TiledPrior(network(), tile=8, overlap=2),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.filterwarnings("ignore::invdiff.priors.mismatch.PriorMismatch")
def test_every_solver_runs(kind: str) -> None:
    prior, x0 = KINDS[kind](), images()[:2]
    op = Inpainting((torch.arange(SIZE**2).view(SIZE, SIZE) % 3 > 0).bool(), (1, SIZE, SIZE))
    y = op.simulate(x0, 0.05, seed=0)
    for method in (name for name, entry in METHODS.items() if entry.prior):
        result = invdiff.solve(y, op, prior, method, sigma_y=0.05, scale=1.0, seed=0, **SHORT[method])
        assert torch.isfinite(result.x).all(), method
        misfit = torch.linalg.vector_norm(op(result.x) - y)
        assert misfit < 0.7 * torch.linalg.vector_norm(y), f"{method} left {float(misfit):.2f}"
