"""uDiG-DIP: a deep image prior whose input is, again and again, the diffusion prior's refinement of its own output.

    for k = 1..K:  theta <- N Adam steps on |A g_theta(z) - y|^2 + lam |g_theta(z) - z|^2
                   u = g_theta(z) + sigma_k n,  denoised to 0 in a few deterministic steps of the prior
                   z = argmin |A z - y|^2 + |A|^2 sigma_k^2 |z - u|^2   (hand-over that keeps to the data)

with sigma_k decreasing. The network holds what the scan says, the prior proposes what images look like, and neither
has the last word: where the prior does not know the image, g fits the scan all the same.

Source: Liang et al., Sequential Diffusion-Guided Deep Image Prior for Medical Image Reconstruction, ICASSP 2025,
from its description; the released code stops after one pass and does not run.
Differs: levels sigma_k spaced geometrically; the hand-over by the operator's prox, where it is linear.
"""

from torch import Tensor

from invdiff.checks import require
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.solvers.aseq_dip import autoencoder
from invdiff.solvers.method import Callback, operator_norm
from invdiff.solvers.purification import purify
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import stop_rule
from invdiff.solvers.untrained import Fit, Problem, fit

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
    rounds: int = 10,
    every: int = 100,
    lr: float = 1e-4,
    lam: float = 1.0,
    sigma_first: float = 0.5,
    sigma_last: float = 0.05,
    denoise: int = 5,
    stop: str = "never",
    patience: int = 500,
    channels: int = 32,
    residual: bool = True,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out) in the prior's units; returns (B, *op.shape_in).

    Args:
        rounds: refinements K by the prior. every: Adam steps N per round. lr: their rate.
        lam: weight of the autoencoding term.
        sigma_first, sigma_last: noise levels of the first and the last refinement.
        denoise: evaluations of the prior in one refinement; K of these in all.
        stop: "variance", "running", "discrepancy", "held-out", "never", or several joined by "+".
        patience: iterations without a better score after which a sample ends.
        channels: of the U-Net at full resolution, and 2, 4 and 4 times as many below; the paper has 64, for 4 times the
            work. residual: whether it adds its input.
    """
    require("rounds", rounds, at_least=1)
    require("every", every, at_least=1)
    require("denoise", denoise, at_least=1)
    require("sigma_last", sigma_last, at_least=prior.sigma_min)
    require("sigma_first", sigma_first, at_least=sigma_last, at_most=prior.sigma_max)
    problem, done = Problem(y, op, prior), 0

    def refine(output: Tensor) -> Tensor:
        nonlocal done
        sigma = sigma_first * (sigma_last / sigma_first) ** (done / max(rounds - 1, 1))
        done += 1
        refined = hand_over(purify(prior, problem.image(output), sigma, denoise, noise), y, op, sigma)
        return problem.output(refined)

    net = autoencoder(problem, channels, residual)
    replicas = Replicas(net, noise.generators, y.device)
    rule = stop_rule(stop, y, op, sigma_y, noise, patience)
    settings = Fit(rounds * every, lr, lam=lam, every=every)
    z = refine(problem.first())
    return fit(problem, replicas, z, settings, rule, noise=noise, callback=callback, renew=refine)


def hand_over(u: Tensor, y: Tensor, op: Operator, sigma: float) -> Tensor:
    """The image near u that keeps to the data; u itself behind a non-linear operator."""
    if not isinstance(op, LinearOperator):
        return u
    return op.prox(u, y, (operator_norm(op) * sigma) ** 2, iterations=10)
