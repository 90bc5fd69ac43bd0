"""Deep image prior: x = g_theta(z) with z fixed noise; theta fitted to y alone, stopped before it fits the noise.

    theta <- Adam on |A g_theta(z + eta) - y|^2,   eta ~ N(0, jitter^2)

No training data and no prior: the network's structure takes images before noise.

Source: Ulyanov, Vedaldi and Lempitsky, Deep Image Prior, CVPR 2018; stop rules: see `stopping`.
Differs: complex images as two output channels; no sigmoid; one network per sample; fewer channels where there are most
pixels, which take the time; it stops by itself.
"""

from pathlib import Path

from torch import Tensor

from invdiff.checks import require
from invdiff.networks.generator_blocks import scales
from invdiff.networks.skip_hourglass import SkipHourglass
from invdiff.operators.base import Operator
from invdiff.random import Noise
from invdiff.solvers.method import Callback
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Stop, stop_rule
from invdiff.solvers.untrained import Fit, Problem, fit, fixed_noise

REFERENCE = """@inproceedings{ulyanov2018dip,
  title = {Deep Image Prior},
  author = {Ulyanov, Dmitry and Vedaldi, Andrea and Lempitsky, Victor},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2018}
}"""


def dip(
    y: Tensor,
    op: Operator,
    prior: None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    iterations: int = 3000,
    lr: float = 0.01,
    channels: int = 16,
    jitter: float = 1 / 30,
    average: float = 0.01,
    stop: str | Stop = "held-out",
    patience: int = 500,
    checkpoint: str | Path | None = None,
    warm: str | Path | None = None,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out); returns (B, *op.shape_in).

    Args:
        iterations: Adam steps at most. lr: its rate.
        channels: of the hour-glass at full resolution, and 2, 4, 4 and 4 times as many at its (at most four) coarser
            scales; the paper has 128 at each, for 16 times the multiplications.
        jitter: standard deviation of the noise on z (z is uniform in (0, 0.1)).
        average: forgetting of the exponential average that is returned.
        stop: "held-out", "discrepancy", "variance", "running", "never", several joined by "+", or a rule of your own.
        patience: iterations without a better score after which a sample ends.
        checkpoint: a .safetensors file to keep the fit in, every half minute, and to go on from where it is there.
        warm: the checkpoint of another scan of this size by this method, to begin with its network.
    """
    require("channels", channels, at_least=1)
    problem = Problem(y, op)
    height, width = op.shape_in[1:]
    depth = scales(height, width, 5)
    widths = [channels * factor for factor in (1, 2, 4, 4, 4)[:depth]]
    net = SkipHourglass(32, problem.channels, tuple(widths))
    z = fixed_noise(y, noise, 32, (height, width))
    replicas = Replicas(net, noise.generators, y.device)
    rule = stop_rule(stop, y, op, sigma_y, noise, patience, average)
    settings = Fit(iterations, lr, jitter=jitter, average=average, checkpoint=checkpoint, warm=warm)
    return fit(problem, replicas, z, settings, rule, noise=noise, callback=callback)
