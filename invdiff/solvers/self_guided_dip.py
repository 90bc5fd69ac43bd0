"""Self-guided deep image prior: the input z is learned together with the network, under noise.

    theta, z <- Adam on |A mean_eta g_theta(z + eta) - y|^2 + alpha |mean_eta g_theta(z + eta) - z|^2

so that g is a denoiser of its own, slowly learned reference z; the average over iterations is returned.

Source: Liang et al., Analysis of Deep Image Prior and Exploiting Self-Guidance for Image Reconstruction, IEEE TCI 2025.
Differs: z begins as the operator's rough image; a stop rule chooses the iterate.
"""

from pathlib import Path

from torch import Tensor

from invdiff.operators.base import Operator
from invdiff.random import Noise
from invdiff.solvers.aseq_dip import autoencoder
from invdiff.solvers.method import Callback
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Stop, stop_rule
from invdiff.solvers.untrained import Fit, Problem, fit

REFERENCE = """@article{liang2025selfguided,
  title = {Analysis of Deep Image Prior and Exploiting Self-Guidance for Image Reconstruction},
  author = {Liang, Shijun and Bell, Evan and Qu, Qing and Wang, Rongrong and Ravishankar, Saiprasad},
  journal = {IEEE Transactions on Computational Imaging},
  year = {2025}
}"""


def self_guided_dip(
    y: Tensor,
    op: Operator,
    prior: None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    iterations: int = 1000,
    lr: float = 3e-4,
    alpha: float = 0.1,
    input_lr: float = 0.01,
    draws: int = 4,
    jitter: float = 0.1,
    average: float = 0.01,
    stop: str | Stop = "variance",
    patience: int = 500,
    channels: int = 16,
    residual: bool = False,
    checkpoint: str | Path | None = None,
    warm: str | Path | None = None,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out); returns (B, *op.shape_in).

    Args:
        iterations: Adam steps at most. lr, input_lr: its rates for theta and for z.
        alpha: weight of the autoencoding term. draws, jitter: number and standard deviation of eta (bright pixels
            of z are about 1).
        average: forgetting of the exponential average that is returned.
        stop: "variance", "running", "discrepancy", "held-out", "never", several joined by "+", or a rule of
            your own.
        patience: iterations without a better score after which a sample ends.
        channels: of the U-Net at full resolution, and 2, 4 and 4 times as many below; the paper has 64, for 16 times
            the work. residual: whether it adds its input.
        checkpoint: a .safetensors file to keep the fit in, every half minute, and to go on from where it is there.
        warm: the checkpoint of another scan of this size by this method, to begin with its network.
    """
    problem = Problem(y, op)
    net = autoencoder(problem, channels, residual)
    replicas = Replicas(net, noise.generators, y.device)
    rule = stop_rule(stop, y, op, sigma_y, noise, patience)
    settings = Fit(
        iterations,
        lr,
        lam=alpha,
        jitter=jitter,
        draws=draws,
        input_lr=input_lr,
        average=average,
        checkpoint=checkpoint,
        warm=warm,
    )
    return fit(problem, replicas, problem.first(), settings, rule, noise=noise, callback=callback)
