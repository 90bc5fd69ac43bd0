"""p(x0 | y) = sum_k p(k | y) N(mean_k, cov_k): the posterior under a mixture of Gaussians."""

import torch
from torch import Generator, Tensor

from invdiff.operators.base import LinearOperator
from invdiff.priors.gaussian_posterior import GaussianPosterior
from invdiff.priors.mixture import GaussianMixturePrior, choose
from invdiff.random import streams


class MixturePosterior:
    """The mixture sum_k p(k | y) N(mean_k, cov_k) of x0 given y; made by `exact_posterior`.

    Attributes:
        weights: p(k | y), (B, K), from the evidence of each component.
        components: K Gaussian posteriors.
        mean: (B, C, H, W).
    """

    def __init__(self, prior: GaussianMixturePrior, op: LinearOperator, y: Tensor, sigma_y: float) -> None:
        self.components = [GaussianPosterior(prior.component(k), op, y, sigma_y, True) for k in range(len(prior))]
        prior_weights = prior.mixture.weights.to(y.device, torch.float64)
        evidence = torch.stack([part.log_evidence() for part in self.components], 1)
        self.weights = (prior_weights.log() + evidence).softmax(1)
        self._log_evidence = (prior_weights.log() + evidence).logsumexp(1)
        self._means = torch.stack([part.mean for part in self.components], 1)
        self.mean = self._average(self._means)

    def cov(self, v: Tensor) -> Tensor:
        """Posterior covariance times v, (B, C, H, W), per real component, over all modes; linear over the reals."""
        v = v.to(self.mean.dtype)
        within = self._average(torch.stack([part.cov(v) for part in self.components], 1))
        off = self._means - self.mean[:, None]
        along = (off.conj() * v[:, None]).real.flatten(2).sum(2)
        return within + self._average(off * along.reshape(*along.shape, 1, 1, 1))

    def sample(self, n: int, seed: int | Generator | None = 0) -> Tensor:
        """n draws for each y, (B, n, C, H, W): a component by its posterior weight, then a draw from it."""
        batch = len(self.mean)
        noise, number = streams(seed, batch, n, self.mean.device)
        pick = noise.like(self.weights.new_zeros(batch * n, 1))
        label = choose(self.weights.repeat_interleave(n, 0), pick).reshape(batch, n)
        out = torch.empty(batch, n, *self.mean.shape[1:], dtype=self.mean.dtype, device=self.mean.device)
        for k, part in enumerate(self.components):
            out[label == k] = part.sample(n, number + 1)[label == k]
        return out

    def std(self) -> Tensor:
        """Posterior standard deviation per pixel, (B, C, H, W), as `GaussianPosterior.std`, over all modes."""
        off = self._means - self.mean[:, None]
        parts = torch.view_as_real(off) if off.is_complex() else off[..., None]
        within = torch.stack([part.component_variance() for part in self.components], 1)
        total = within + parts**2
        weights = self.weights.reshape(*self.weights.shape, 1, 1, 1, 1)
        return (weights * total).sum(1).mean(-1).sqrt()

    def log_evidence(self) -> Tensor:
        """log p(y), (B,), over the measured real values."""
        return self._log_evidence

    def _average(self, values: Tensor) -> Tensor:
        """sum_k p(k | y) values_k for values (B, K, C, H, W)."""
        return (self.weights.reshape(*self.weights.shape, 1, 1, 1) * values).sum(1)
