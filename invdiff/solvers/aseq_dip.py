"""Autoencoding sequential deep image prior: the network's input is its own last output, made to keep to the data.

    theta <- N Adam steps on |A g - y|^2 + lam |g - z|^2,   g = g_theta(z + eta),   eta ~ N(0, jitter^2)
    z     <- argmin |A x - y|^2 + rho |x - g|^2,            rho = (sigma_y / keep)^2

from z = A^H y on. The second term asks g to leave its input as it is, which slows the fitting of noise.

Source: Alkhouri et al., Image Reconstruction via Autoencoding Sequential Deep Image Prior, NeurIPS 2024, Algorithm 1.
Differs: the first z is the rough image of the operator (windowed calibration image, least squares, ...) in place of
A^H y; z keeps to the data (the released code has such an input for MRI); noise on the input and the average over
iterations, as in `dip`; larger steps; a stop rule chooses the iterate. On training slices at 64x64: 4x MRI, 1000
iterations, 21.2 dB without noise and average, where it stayed, and 22.5 with; CT of 20 views, 500 iterations, 22.6 dB
where z is the output itself, 27.8 with the data step (27.4 with the present options). On two of 4x MRI at 128x128,
1500 iterations: `dip` 24.6 dB in the mean; here 24.4 with N = 10, keep 0.05 and jitter 0.1, 4 dB apart; 24.5 with
jitter 0.2; 24.8 with keep 0.3 as well; 25.0 with N = 2 as well. More or less weight of the second term, keep 1 and a
deeper network changed little there; the hour-glass of `dip` in place of the U-Net lost 1 dB.
"""

from pathlib import Path

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.networks.generator_blocks import scales
from invdiff.networks.image_unet import ImageUNet
from invdiff.operators.base import LinearOperator, Operator
from invdiff.random import Noise
from invdiff.solvers.method import Callback, data_weight, operator_norm
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Stop, stop_rule
from invdiff.solvers.untrained import Fit, Problem, Renew, fit

INNER = 5  # conjugate-gradient steps of a data step, where there is no closed form

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
    iterations: int = 3000,
    lr: float = 3e-3,
    lam: float = 0.3,
    every: int = 2,
    keep: float = 0.3,
    jitter: float = 0.2,
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
        iterations: Adam steps at most, over all inputs. lr: its rate.
        lam: weight of the autoencoding term. every: Adam steps N per input, 0 to keep the first one.
        keep: how far an input may be from the output that it is made of, in units of the brightness, to keep to the
            data; nothing behind a non-linear operator.
        jitter: standard deviation of eta, in units of the brightness.
        average: forgetting of the exponential average that is returned, 1 for the output itself.
        stop: "variance", "running", "discrepancy", "held-out", "never", several joined by "+", or a rule of
            your own.
        patience: iterations without a better score after which a sample ends.
        channels: of the U-Net at full resolution, and 2, 4 and 4 times as many below; the paper has 64, for 16 times
            the work. residual: whether it adds its input.
        checkpoint: a .safetensors file to keep the fit in, every half minute, and to go on from where it is there.
        warm: the checkpoint of another scan of this size by this method, to begin with its network.
    """
    require("keep", keep, above=0)
    problem = Problem(y, op)
    net = autoencoder(problem, channels, residual)
    replicas = Replicas(net, noise.generators, y.device)
    rule = stop_rule(stop, y, op, sigma_y, noise, patience)
    settings = Fit(iterations, lr, lam, every, jitter, average=average, checkpoint=checkpoint, warm=warm, also=(keep,))
    renew = data_step(problem, sigma_y, keep, rule)
    return fit(problem, replicas, problem.first(), settings, rule, noise=noise, callback=callback, renew=renew)


def data_step(problem: Problem, sigma_y: Tensor | None, keep: float, rule: Stop) -> Renew:
    """From an output of the network to the one near it that keeps to the data; itself behind a non-linear operator."""
    op, y = problem.op, problem.y
    if not isinstance(op, LinearOperator):
        return lambda output, k: output
    rho = operator_norm(op) ** 2 if sigma_y is None else data_weight(op, sigma_y, (keep * problem.s) ** 2)

    def settled(output: Tensor, k: int) -> Tensor:
        x = problem.image(output)
        return problem.output(op.prox(x, seen(y, op, x, rule.weights), rho, iterations=INNER, tol=0.0))

    return settled


def seen(y: Tensor, op: Operator, x: Tensor, weights: Tensor | None) -> Tensor:
    """The data, with those that a stop rule holds out as x has them, so that no data step moves x towards them."""
    return y if weights is None else torch.where(weights, y, op(x))


def autoencoder(problem: Problem, channels: int, residual: bool) -> ImageUNet:
    """The network of the methods that begin with an image, as deep as its size allows."""
    require("channels", channels, at_least=1)
    height, width = problem.op.shape_in[1:]
    widths = [channels * factor for factor in (1, 2, 4, 4)[: 1 + scales(height, width, 3)]]
    return ImageUNet(problem.channels, tuple(widths), residual)
