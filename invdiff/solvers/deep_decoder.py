"""Deep decoder: x = g_theta(z) with an under-parameterised network of 1x1 convolutions and bilinear upsampling.

    theta <- Adam on |A g_theta(z) - y|^2

It fits noise slowly, having no room for it, and fine detail not at all.

Source: Heckel and Hand, Deep Decoder, ICLR 2019 (five upsamplings of 128 channels, Adam at 0.01).
Differs: complex images as two output channels; no sigmoid; any size; one network per sample.
"""

from pathlib import Path

from torch import Tensor

from invdiff.checks import require
from invdiff.networks.deep_decoder import DeepDecoder
from invdiff.networks.generator_blocks import scales
from invdiff.operators.base import Operator
from invdiff.random import Noise
from invdiff.solvers.method import Callback
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Stop, stop_rule
from invdiff.solvers.untrained import Fit, Problem, fit, fixed_noise

REFERENCE = """@inproceedings{heckel2019deepdecoder,
  title = {Deep Decoder: Concise Image Representations from Untrained Non-convolutional Networks},
  author = {Heckel, Reinhard and Hand, Paul},
  booktitle = {International Conference on Learning Representations},
  year = {2019}
}"""


def deep_decoder(
    y: Tensor,
    op: Operator,
    prior: None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    iterations: int = 5000,
    lr: float = 0.01,
    channels: int = 128,
    stop: str | Stop = "never",
    patience: int = 500,
    checkpoint: str | Path | None = None,
    warm: str | Path | None = None,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out); returns (B, *op.shape_in).

    Args:
        iterations: Adam steps at most. lr: its rate. channels: of every layer.
        stop: "variance", "running", "discrepancy", "held-out", "never", several joined by "+", or a rule of
            your own.
        patience: iterations without a better score after which a sample ends.
        checkpoint: a .safetensors file to keep the fit in, every half minute, and to go on from where it is there.
        warm: the checkpoint of another scan of this size by this method, to begin with its network.
    """
    require("channels", channels, at_least=1)
    problem = Problem(y, op)
    height, width = op.shape_in[1:]
    net = DeepDecoder(problem.channels, (height, width), channels, scales(height, width, 5))
    z = fixed_noise(y, noise, channels, net.sizes[0])
    replicas = Replicas(net, noise.generators, y.device)
    rule = stop_rule(stop, y, op, sigma_y, noise, patience)
    settings = Fit(iterations, lr, checkpoint=checkpoint, warm=warm)
    return fit(problem, replicas, z, settings, rule, noise=noise, callback=callback)
