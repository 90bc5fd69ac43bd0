"""D(x; sigma) = sum_k w_k(x) D_k(x): the Gaussian-mixture prior, exact and multi-modal.

w_k(x) is proportional to w_k N(x; mu_k, C_k + sigma^2 I), taken as a log-sum-exp in double precision.
"""

from typing import Any

import torch
from torch import Tensor

from invdiff.priors.analytic import AnalyticPrior, Seed, check_images, extent, noise_for
from invdiff.priors.container import as_parts, from_parts
from invdiff.priors.covariance import nearest_orthonormal
from invdiff.priors.em import fit_mixture
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.low_rank_mixture import LowRankMixture
from invdiff.priors.prior import per_sample


class GaussianMixturePrior(AnalyticPrior):
    """x0 ~ sum_k w_k N(mu_k, U_k diag(lambda_k) U_k^H + s_k (I - U_k U_k^H)).

    Means of 0, floors of 0 and equal variances are the mixture of low-rank Gaussians (MoLRG) of arXiv 2409.02426.
    Kept and computed in double precision, since log-densities at small sigma differ by little of their size.

    Args:
        weights: (K,), summing to 1. means: (K, C, H, W), real or complex. bases: (K, r, C, H, W), orthonormal for each
            k; r may be 0. variances: (K, r). floors: (K,). Variances are per real component.
    """

    kind = "gaussian-mixture"

    def __init__(self, weights: Tensor, means: Tensor, bases: Tensor, variances: Tensor, floors: Tensor) -> None:
        if means.ndim != 4 or bases.ndim != 5 or means.shape[1:] != bases.shape[2:]:
            raise ValueError(
                f"means must be (K, C, H, W) and bases (K, r, C, H, W), got {tuple(means.shape)}, {tuple(bases.shape)}."
            )
        super().__init__(tuple(means.shape[1:]), means.is_complex())
        self._image = means.shape[1:]
        wide = torch.complex128 if self.complex else torch.float64
        self.mixture = LowRankMixture(
            weights.detach().double(),
            means.detach().flatten(1).to(wide),
            bases.detach().flatten(2).to(wide),
            variances.detach().double(),
            floors.detach().double(),
        )
        ranges = [self.component(k).range for k in range(len(weights))]
        self.range = (min(low for low, _ in ranges), max(high for _, high in ranges))
        self.history: list[float] = []

    @classmethod
    def fit(
        cls,
        images: Tensor,
        components: int = 8,
        rank: int = 8,
        iterations: int = 50,
        seed: int = 0,
        *,
        zero_mean: bool = False,
    ) -> "GaussianMixturePrior":
        """The mixture that expectation maximisation finds for images (N, C, H, W), real or complex.

        `history` of the result holds the mean log-likelihood after each iteration. `zero_mean` keeps all means at 0.

        Raises:
            ValueError: too few images, or a rank above the number of pixels.
        """
        check_images(images, 2)
        shape = images.shape[1:]
        mixture, history = fit_mixture(
            images.flatten(1), components, rank, iterations=iterations, seed=seed, zero_mean=zero_mean
        )
        prior = cls(
            mixture.weights,
            mixture.means.reshape(components, *shape),
            mixture.bases.reshape(components, rank, *shape),
            mixture.variances,
            mixture.floors,
        )
        prior.history = history
        return prior.describe(range=extent(images))

    def tensors(self) -> dict[str, Tensor]:
        """In single precision: responsibilities rest on small differences of log-densities."""
        m = self.mixture
        flat = {"weights": m.weights, "variances": m.variances, "floors": m.floors}
        means, bases = m.means.unflatten(1, self._image), m.bases.unflatten(2, self._image)
        return {name: t.float() for name, t in (flat | {"means": as_parts(means), "bases": as_parts(bases)}).items()}

    def scalars(self) -> dict[str, Any]:
        return {"complex": self.complex}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> "GaussianMixturePrior":
        """Weights sum to 1 and bases are orthonormal again after their rounding."""
        weights, variances, floors = (tensors[name].double() for name in ("weights", "variances", "floors"))
        means, bases = from_parts(tensors["means"].double(), 4), from_parts(tensors["bases"].double(), 5)
        bases = nearest_orthonormal(bases.flatten(2)).reshape(bases.shape)
        return cls(weights / weights.sum(), means, bases, variances, floors)

    def __len__(self) -> int:
        return len(self.mixture.weights)

    def component(self, k: int) -> GaussianPrior:
        """Component k as a Gaussian prior."""
        m = self.mixture
        return GaussianPrior.low_rank(
            m.means[k].reshape(self._image),
            m.bases[k].reshape(m.bases.shape[1], *self._image),
            m.variances[k],
            float(m.floors[k]),
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.mixture.denoise(x.flatten(1), level).reshape(x.shape)

    def _vjp(self, x: Tensor, level: Tensor, v: Tensor) -> Tensor:
        return self.mixture.vjp(x.flatten(1), level, v.flatten(1)).reshape(x.shape)

    def responsibilities(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Probability of each component given a noisy image, (B, K)."""
        return self._log_joint(x, sigma).softmax(1)

    def log_density(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """log p(x) of noisy images, (B,); the density is over real and imaginary parts."""
        return self._log_joint(x, sigma).logsumexp(1)

    def _log_joint(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        self._check(x)
        inner = x.to(self.dtype)
        return self.mixture.log_joint(inner.flatten(1), per_sample(sigma, inner))

    def sample(self, n: int, seed: Seed = 0) -> Tensor:
        """n draws, (n, C, H, W), each from its own stream of the seed."""
        return self.labelled_sample(n, seed)[0]

    def labelled_sample(self, n: int, seed: Seed = 0) -> tuple[Tensor, Tensor]:
        """n draws and the component (n,) each came from."""
        noise = noise_for(n, seed, self.device)
        label = choose(self.mixture.weights.expand(n, -1), noise.like(self.mixture.weights.new_zeros(n, 1)))
        white = noise.like(torch.zeros(n, *self._image, dtype=self.dtype, device=self.device))
        out = torch.empty_like(white)
        for k in range(len(self)):
            part = self.component(k)
            rows = label == k
            out[rows] = part.mean + part.covariance.filter(torch.sqrt, white[rows])
        return out, label


def choose(weights: Tensor, normal: Tensor) -> Tensor:
    """Component (n,) drawn from weights (n, K) with one standard normal number each, (n, 1)."""
    uniform = torch.special.ndtr(normal)
    return (weights.cumsum(1) < uniform).sum(1).clamp(max=weights.shape[1] - 1)
