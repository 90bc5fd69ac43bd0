"""Autoencoding sequential deep image prior: the network's input is its own last output.

    theta <- N Adam steps on |A g_theta(z) - y|^2 + lam |g_theta(z) - z|^2,   then  z <- g_theta(z)

from z = A^H y on. The second term asks g to leave its input as it is, which slows the fitting of noise.

Source: Alkhouri et al., Image Reconstruction via Autoencoding Sequential Deep Image Prior, NeurIPS 2024, Algorithm 1.
Differs: the first z is the rough image of the operator (windowed calibration image, least squares, ...) in place of
A^H y; a stop rule chooses the iterate; larger steps and fewer inputs (on a training slice, 4x MRI at 64x64, N = 2 with
lam = 1 at a rate of 1e-3 ended 5 dB lower after 500 steps: inputs from a young network lead it away from the data).
"""

from pathlib import Path

from torch import Tensor

from invdiff.networks.generator_blocks import scales
from invdiff.networks.image_unet import ImageUNet
from invdiff.operators.base import Operator
from invdiff.random import Noise
from invdiff.solvers.method import Callback
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import stop_rule
from invdiff.solvers.untrained import Fit, Problem, fit

REFERENCE = """@inproceedings{alkhouri2024aseqdip,
  title = {Image Reconstruction Via Autoencoding Sequential Deep Image Prior},
  author = {Alkhouri, Ismail and Liang, Shijun and Bell, Evan and Qu, Qing and Wang, Rongrong and
            Ravishankar, Saiprasad},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024}
}"""


def aseq_dip(
    y: Tensor,
    op: Operator,
    prior: None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    iterations: int = 1000,
    lr: float = 3e-3,
    lam: float = 0.3,
    every: int = 10,
    stop: str = "variance",
    patience: int = 500,
    channels: int = 16,
    residual: bool = False,
    checkpoint: str | Path | None = None,
    warm: str | Path | None = None,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out); returns (B, *op.shape_in).

    Args:
        iterations: Adam steps at most, over all inputs. lr: its rate.
        lam: weight of the autoencoding term. every: Adam steps N per input.
        stop: "variance", "running", "discrepancy", "held-out", "never", or several joined by "+".
        patience: iterations without a better score after which a sample ends.
        channels: of the U-Net at full resolution, and 2, 4 and 4 times as many below; the paper has 64, for 16 times
            the work. residual: whether it adds its input.
        checkpoint, warm: files of this fit, to go on from, and of another, to begin with; see `fit_run.Fit`.
    """
    problem = Problem(y, op)
    net = autoencoder(problem, channels, residual)
    replicas = Replicas(net, noise.generators, y.device)
    rule = stop_rule(stop, y, op, sigma_y, noise, patience)
    settings = Fit(iterations, lr, lam=lam, every=every, checkpoint=checkpoint, warm=warm)
    z = problem.first()
    return fit(problem, replicas, z, settings, rule, noise=noise, callback=callback, renew=lambda output, k: output)


def autoencoder(problem: Problem, channels: int, residual: bool) -> ImageUNet:
    """The network of the methods that begin with an image, as deep as its size allows."""
    height, width = problem.op.shape_in[1:]
    widths = [channels * factor for factor in (1, 2, 4, 4)[: 1 + scales(height, width, 3)]]
    return ImageUNet(problem.channels, tuple(widths), residual)
