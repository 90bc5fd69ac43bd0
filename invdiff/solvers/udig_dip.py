"""uDiG-DIP: a deep image prior whose input is, again and again, the diffusion prior's refinement of its own output.

    for k = 1..K:  u = g_theta(z) + sigma_k n, then down the noise levels a > b > ... > 0 below sigma_k:
                       x0 = argmin |A x - y|^2 + rho |x - D(u; a)|^2,   u = x0 + b n
                   z = u
                   theta <- N Adam steps on |A g_theta(z) - y|^2 + lam |g_theta(z) - z|^2

with sigma_k decreasing. The network holds what the scan says, the prior proposes what images look like, and neither
has the last word. sigma_1 is the prior's highest level, where nothing of g is left: the first refinement is a run of
`dds`, and one round is DiG-DIP, whose input is a diffusion reconstruction once. The refinements are draws, and the
average over iterations comes closer to the truth than any of them.

Source: Liang et al., Sequential Diffusion-Guided Deep Image Prior for Medical Image Reconstruction, ICASSP 2025,
from its description; the released code stops after one pass and does not run.
Differs: levels sigma_k spaced geometrically; where the operator is linear, each estimate of the prior on the way down
is made to keep to the data, not the last alone, and its noise is fresh (on training slices, 4x MRI, the deterministic
flow lost 1 to 4 dB in ten rounds); the average is returned.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from torch import Tensor

from invdiff.checks import require
from invdiff.diffusion.schedule import levels
from invdiff.diffusion.step import renoise
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.solvers.aseq_dip import autoencoder
from invdiff.solvers.method import Callback, data_weight, operator_norm
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import stop_rule
from invdiff.solvers.untrained import Fit, Problem, fit

TRUSTED = 0.05  # rho = (sigma_y / TRUSTED)^2, as in `dds`

REFERENCE = """@inproceedings{liang2025udigdip,
  title = {Sequential Diffusion-Guided Deep Image Prior For Medical Image Reconstruction},
  author = {Liang, Shijun and Alkhouri, Ismail and Qu, Qing and Wang, Rongrong and Ravishankar, Saiprasad},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing},
  year = {2025}
}"""


def udig_dip(
    y: Tensor,
    op: Operator,
    prior: Prior,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    rounds: int = 5,
    every: int = 20,
    lr: float = 3e-4,
    lam: float = 1.0,
    steps: int = 100,
    sigma_first: float | None = None,
    sigma_last: float = 1.0,
    average: float = 0.02,
    stop: str = "never",
    patience: int = 500,
    channels: int = 16,
    residual: bool = True,
    checkpoint: str | Path | None = None,
    warm: str | Path | None = None,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out) in the prior's units; returns (B, *op.shape_in).

    Args:
        rounds: refinements K by the prior; 1 is DiG-DIP. every: Adam steps N per round. lr: their rate.
        lam: weight of the autoencoding term.
        steps: noise levels between the prior's highest and 0, each an evaluation; a refinement passes those below its
            sigma_k.
        sigma_first, sigma_last: noise levels of the first and the last refinement; None is the prior's highest.
        average: forgetting of the exponential average that is returned, 1 for the last iterate.
        stop: "variance", "running", "discrepancy", "held-out", "never", or several joined by "+".
        patience: iterations without a better score after which a sample ends.
        channels: of the U-Net at full resolution, and 2, 4 and 4 times as many below; the paper has 64, for 16 times
            the work. residual: whether it adds its input.
        checkpoint, warm: files of this fit, to go on from, and of another, to begin with; see `fit_run.Fit`.
    """
    require("rounds", rounds, at_least=1)
    require("every", every, at_least=1)
    require("sigma_last", sigma_last, at_least=prior.sigma_min)
    first = prior.sigma_max if sigma_first is None else sigma_first
    require("sigma_first", first, at_least=sigma_last, at_most=prior.sigma_max)
    problem, grid = Problem(y, op, prior), levels("karras", steps, prior.sigma_min, prior.sigma_max)
    settled = _data_step(y, op, sigma_y)

    def refine(output: Tensor, k: int) -> Tensor:
        sigma = first * (sigma_last / first) ** (k / max(rounds - 1, 1))
        u = renoise(problem.image(output), sigma, noise)
        for a, b in pairwise([sigma, *(level for level in grid if level < sigma)]):
            u = renoise(settled(prior(u, a)), b, noise)
        return problem.output(u)

    net = autoencoder(problem, channels, residual)
    replicas = Replicas(net, noise.generators, y.device)
    rule = stop_rule(stop, y, op, sigma_y, noise, patience)
    also = (first, sigma_last, float(steps))
    settings = Fit(
        rounds * every, lr, lam=lam, every=every, average=average, checkpoint=checkpoint, warm=warm, also=also
    )
    z = refine(problem.first(), 0)
    return fit(problem, replicas, z, settings, rule, noise=noise, callback=callback, renew=refine)


def _data_step(y: Tensor, op: Operator, sigma_y: Tensor | None) -> Callable[[Tensor], Tensor]:
    """From D(u; sigma) to the image near it that keeps to the data; nothing behind a non-linear operator."""
    if not isinstance(op, LinearOperator):
        return lambda x_hat: x_hat
    rho = operator_norm(op) ** 2 if sigma_y is None else data_weight(op, sigma_y, TRUSTED**2)
    return lambda x_hat: op.prox(x_hat, y, rho, iterations=5, tol=0.0)
