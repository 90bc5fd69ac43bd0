"""Guided-diffusion checkpoints (FFHQ, ImageNet, AAPM, fastMRI): D = x - sigma eps(x_t, t).

Source: Dhariwal and Nichol, 2021; Chung et al., Diffusion Posterior Sampling, 2023 (FFHQ), and Decomposed Diffusion
Sampler, 2024 (AAPM, fastMRI): all trained on images in [-1, 1] with the linear schedule of 1000 times.
"""

from typing import Any

import torch

from invdiff.diffusion.precondition import Epsilon, Parameterisation
from invdiff.diffusion.vp import Schedule
from invdiff.networks.guided_blocks import QKV
from invdiff.networks.guided_config import guided_config, is_guided
from invdiff.networks.guided_unet import GuidedUNet
from invdiff.priors.adapted import AdaptedPrior
from invdiff.priors.foreign import Foreign, Format
from invdiff.priors.weights import fill, state


def recognise(foreign: Foreign) -> bool:
    """Whether a file holds the tensors of such a network, whatever else it holds."""
    return is_guided(state(foreign.content))


def read(
    foreign: Foreign,
    *,
    heads: int | None = None,
    head_width: int = 64,
    qkv_order: QKV = "legacy",
    label: int | None = None,
    parameterisation: Parameterisation | None = None,
    **declared: Any,
) -> AdaptedPrior:
    """The checkpoint as a prior; its averaged weights where it has both.

    Args:
        foreign: the checkpoint.
        heads, head_width, qkv_order, label: what tensors do not tell, see `GuidedUNet`.
        parameterisation: by default epsilon with the linear schedule of 1000 times, and with a learned variance where
            the network has twice as many channels out as in.
        declared: arguments of `AdaptedPrior`. By default two channels are a complex image and all others real ones, in
            [-1, 1].

    Raises:
        ValueError: tensors that are missing, unexpected or mis-shaped; a class-conditional network without label.
    """
    tensors = state(foreign.content)
    config = guided_config(tensors)
    with torch.device("meta"):
        net = GuidedUNet(**config, heads=heads, head_width=head_width, qkv_order=qkv_order, label=label)
    net = fill(net, tensors, str(foreign.path))
    found = {
        "channels": "complex2" if net.in_channels == 2 else "real",
        "net_channels": net.in_channels,
        "multiple": net.multiple,
    }
    learned = net.out_channels == 2 * net.in_channels
    chosen = parameterisation or Epsilon(Schedule.linear(), learned_variance=learned)
    return AdaptedPrior(net, chosen, **found | declared)


GUIDED = Format("guided diffusion (time_embed, input_blocks, middle_block, output_blocks, out)", recognise, read)
