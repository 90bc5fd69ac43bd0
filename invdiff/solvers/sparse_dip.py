"""Sparse-DIP: a deep image prior of which only the parameters that a mask keeps are there, and trained.

    theta <- Adam on |A g(theta * m; z) - y|^2,   theta from the random theta_0 that the mask m was found for

With a twentieth of the parameters there is little room for noise, so that the fit drifts where a dense one spoils.

Source: Ghosh et al., Optimal Eye Surgeon, ICML 2024, section 4; the mask: see `oes`.
Differs: what is masked is set to 0 after every step, not only in the gradient, since Adam's momentum would move it;
complex images as two output channels; no sigmoid; a stop rule on top.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.base import Operator
from invdiff.random import Noise
from invdiff.solvers.compact import compact as compacted
from invdiff.solvers.generator import CHANNELS, planted
from invdiff.solvers.mask import Mask
from invdiff.solvers.method import Callback
from invdiff.solvers.oes import learn_mask
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Stop, stop_rule
from invdiff.solvers.untrained import Fit, Problem, fit

REFERENCE = """@inproceedings{ghosh2024oes,
  title = {Optimal Eye Surgeon: Finding Image Priors through Sparse Generators at Initialization},
  author = {Ghosh, Avrajit and Zhang, Xitong and Sun, Kenneth K. and Qu, Qing and Ravishankar, Saiprasad and
            Wang, Rongrong},
  booktitle = {International Conference on Machine Learning},
  year = {2024}
}"""


def sparse_dip(
    y: Tensor,
    op: Operator,
    prior: None = None,
    *,
    noise: Noise,
    callback: Callback,
    sigma_y: Tensor | None = None,
    mask: Mask | str | Path | None = None,
    sparsity: float = 0.05,
    mask_iterations: int = 2000,
    channels: int = CHANNELS,
    iterations: int = 3000,
    lr: float = 0.01,
    average: float = 0.01,
    stop: str | Stop = "held-out",
    patience: int = 500,
    compact: bool = False,
    checkpoint: str | Path | None = None,
    warm: str | Path | None = None,
) -> Tensor:
    """Reconstruct y (B, *op.shape_out); returns (B, *op.shape_in).

    Args:
        mask: from `learn_mask` or a file of one, for all items; None learns one from each item of y first.
        sparsity, mask_iterations, channels: for masks learned here, as `learn_mask` has them.
        iterations: Adam steps at most. lr: its rate.
        average: forgetting of the exponential average that is returned.
        stop: "held-out", "variance", "running", "discrepancy", "never", several joined by "+", or a rule of your own.
        patience: iterations without a better score after which a sample ends.
        compact: drop the channels that the mask leaves without effect: the same image, to rounding, in less time.
            Takes one mask for all items.
        checkpoint: a .safetensors file to keep the fit in, every half minute, and to go on from where it is there;
            masks learned here are learned again.
        warm: the checkpoint of another scan of this size and with this mask, to begin with its network.

    Raises:
        ValueError: a mask for another number of image channels, or a file that holds none.
    """
    settings = Fit(iterations, lr, average=average, checkpoint=checkpoint, warm=warm)
    if compact and mask is None and len(y) > 1:
        raise ValueError("compact takes one mask for all items of y. Pass mask=, or one item at a time.")
    problem = Problem(y, op)
    learning = {"sparsity": sparsity, "iterations": mask_iterations, "channels": channels}
    found = Mask.load(mask) if isinstance(mask, (str, Path)) else mask
    if not (found is None or isinstance(found, Mask)):
        raise TypeError(f"mask must be a Mask or the path of a file of one, got {type(found).__name__}.")
    masks = [found] * len(y) if found else [_learned(y, op, b, noise, **learning) for b in range(len(y))]
    if masks[0].config["out_channels"] != problem.channels:
        raise ValueError(
            f"the mask is for {masks[0].config['out_channels']} real channels, the image has {problem.channels}. "
            "Learn one from a measurement of this kind."
        )
    parts = [planted(m.network(), m.seed, y[b : b + 1], op) for b, m in enumerate(masks)]
    replicas = Replicas.joined([part for part, _ in parts])
    keep = {name: torch.stack([m.keep[name] for m in masks]).to(y.device) for name in masks[0].keep}
    if compact:
        replicas, keep = compacted(replicas, masks[0].keep)
    rule = stop_rule(stop, y, op, sigma_y, noise, patience, average)
    z = torch.cat([z for _, z in parts])
    return fit(problem, replicas, z, settings, rule, noise=noise, callback=callback, mask=keep)


def _learned(y: Tensor, op: Operator, b: int, noise: Noise, **options: Any) -> Mask:
    seed = int(torch.randint(0, 2**62, (1,), generator=noise.generators[b]))
    return learn_mask(y[b : b + 1], op, seed=seed, **options)
