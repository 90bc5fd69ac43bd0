"""Expectation maximisation for mixtures of low-rank Gaussians: responsibilities, then PCA of each component."""

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from invdiff.priors.low_rank_mixture import LowRankMixture
from invdiff.priors.ppca import probabilistic_pca

_CHUNK = 4096


def fit_mixture(
    x: Tensor,
    components: int,
    rank: int,
    *,
    iterations: int = 50,
    seed: int = 0,
    zero_mean: bool = False,
    tol: float = 1e-6,
    progress: bool = False,
) -> tuple[LowRankMixture, list[float]]:
    """The mixture that EM reaches for vectors x (N, d), and the mean log-likelihood after each iteration.

    Args:
        x: real or complex (then circular about the means).
        components: K. rank: r of every component.
        iterations: at most this many; fewer when the mean log-likelihood gains less than `tol` per real value.
        seed: of the start, a k-means++ draw.
        progress: show a bar on a terminal.
        zero_mean: keep the means at 0, and start from the lines through K samples instead of from the samples.

    Returns:
        The mixture in double precision; the log-likelihoods, which never decrease.

    Raises:
        ValueError: fewer samples than components, a rank above d, constant data.

    Source: Tipping and Bishop, Mixtures of probabilistic principal component analysers, 1999, section 3.
    """
    if not 1 <= components <= len(x) or rank > x.shape[1]:
        raise ValueError(f"{components} components of rank {rank} do not fit {len(x)} samples of {x.shape[1]} values.")
    x = x.to(torch.complex128 if x.is_complex() else torch.float64)
    spread = float((x if zero_mean else x - x.mean(0)).abs().square().mean())
    if spread == 0:
        raise ValueError("all samples are equal; a mixture needs samples that differ.")
    share = _start(x, components, Generator().manual_seed(seed), zero_mean)
    history: list[float] = []
    for _ in tqdm(range(iterations), "EM", leave=False, disable=None if progress else True):
        mixture = _maximise(x, share, rank, 1e-6 * spread, zero_mean)
        joint = _log_joint(mixture, x)
        history.append(float(joint.logsumexp(1).mean()))
        share = joint.softmax(1)
        if len(history) > 1 and history[-1] - history[-2] < tol * x.shape[1]:
            break
    return mixture, history


def _log_joint(mixture: LowRankMixture, x: Tensor) -> Tensor:
    level = torch.zeros(1, dtype=torch.float64, device=x.device)
    out = torch.empty(len(x), len(mixture.weights), dtype=torch.float64, device=x.device)
    for start in range(0, len(x), _CHUNK):
        out[start : start + _CHUNK] = mixture.log_joint(x[start : start + _CHUNK], level)
    return out


def _maximise(x: Tensor, share: Tensor, rank: int, smallest: float, zero_mean: bool) -> LowRankMixture:
    """The likeliest mixture for given responsibilities (N, K); outputs are allocated once."""
    count, size = share.shape[1], x.shape[1]
    means = x.new_zeros(count, size)
    bases = torch.eye(rank, size, dtype=x.dtype, device=x.device).repeat(count, 1, 1)
    variances, floors = share.new_full((count, rank), smallest), share.new_full((count,), smallest)
    for k in range(count):
        rows = share[:, k] > 1e-12
        w, total = share[rows, k], share[:, k].sum()
        if float(total) < 1e-8:
            continue
        if not zero_mean:
            means[k] = (w[:, None] * x[rows]).sum(0) / w.sum()
        scale = (w / (total * (2 if x.is_complex() else 1))).sqrt()
        scaled = scale[:, None] * (x[rows] - means[k])
        filled = torch.cat([scaled, x.new_zeros(max(rank - len(scaled), 0), size)])
        bases[k], variances[k], floors[k] = probabilistic_pca(filled, rank, smallest)
    weights = share.sum(0) / share.sum()
    return LowRankMixture(weights, means, bases, variances, floors)


def _start(x: Tensor, components: int, generator: Generator, zero_mean: bool) -> Tensor:
    """Hard responsibilities (N, K): each sample goes to the nearest of K seeds drawn far apart."""
    seeds = x[torch.randint(len(x), (1,), generator=generator)]
    nearest = _distance(x, seeds, zero_mean)[:, 0]
    for _ in range(components - 1):
        odds = nearest.cumsum(0).cpu()
        draw = torch.rand((), generator=generator, dtype=torch.float64) * odds[-1]
        pick = min(int(torch.searchsorted(odds, draw)), len(x) - 1)
        seeds = torch.cat([seeds, x[pick : pick + 1]])
        nearest = torch.minimum(nearest, _distance(x, seeds[-1:], zero_mean)[:, 0])
    label = _distance(x, seeds, zero_mean).argmin(1)
    for _ in range(0 if zero_mean else 5):  # a few rounds of k-means
        one_hot = torch.nn.functional.one_hot(label, components).to(x.dtype)
        size = one_hot.sum(0)[:, None]
        seeds = torch.where(size.real > 0, one_hot.mT @ x / size.real.clamp(min=1), seeds)
        label = _distance(x, seeds, zero_mean).argmin(1)
    return torch.nn.functional.one_hot(label, components).double()


def _distance(x: Tensor, seeds: Tensor, lines: bool) -> Tensor:
    """Squared distance of each sample to each seed, or to the line through it, (N, K)."""
    inner, square = x @ seeds.mH, x.abs().square().sum(1, keepdim=True)
    if lines:
        length = seeds.abs().square().sum(1).clamp(min=torch.finfo(torch.float64).tiny)
        return (square - inner.abs() ** 2 / length).clamp(min=0.0)
    return (square - 2 * inner.real + seeds.abs().square().sum(1)).clamp(min=0.0)
