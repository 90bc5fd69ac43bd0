"""NCSN++ checkpoints of the score-SDE code (score-MRI, MCG, DiffusionMBIR): D = x + sigma^2 s(x, sigma), or VP epsilon.

A file is {optimizer, model, ema, step}; `ema` is a list of tensors without names, in the order of the trained
parameters of `model`.

Source: Song et al., Score-Based Generative Modeling through SDEs, 2021; Chung and Ye, Score-based Diffusion Models for
Accelerated MRI, 2022 (one channel for real and imaginary part in turn, images in [0, 1], sigma from 0.01 to 378).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from invdiff.diffusion.precondition import ContinuousEpsilon, Parameterisation, Score
from invdiff.networks.ncsnpp import NCSNpp
from invdiff.networks.ncsnpp_config import is_ncsnpp, ncsnpp_config
from invdiff.priors.adapted import AdaptedPrior, trained_levels
from invdiff.priors.foreign import Foreign, Format
from invdiff.priors.weights import fill, state

LEVELS = "sigmas"  # a buffer beside the layers


def recognise(foreign: Foreign) -> bool:
    """Whether a file holds the tensors of such a network."""
    return is_ncsnpp(state(foreign.content))


def read(
    foreign: Foreign,
    *,
    averaged: bool = True,
    skip_rescale: bool = True,
    scale_by_sigma: bool | None = None,
    centered: bool | None = None,
    taps: Sequence[float] | None = None,
    parameterisation: Parameterisation | None = None,
    **declared: Any,
) -> AdaptedPrior:
    """The checkpoint as a prior.

    Args:
        foreign: the checkpoint.
        averaged: whether to take the averaged weights where there are any.
        skip_rescale, scale_by_sigma, centered, taps: what tensors do not tell, see `NCSNpp`.
        parameterisation: by default the VE score where the network sees ln(sigma), and epsilon of the continuous VP
            schedule where it sees the time. Networks trained at 1000 discrete times need Epsilon(Schedule.linear()).
        declared: arguments of `AdaptedPrior`. By default two channels are a complex image and all others real ones; one
            channel may be "complex-split". Images are in [0, 1], or [-1, 1] where the network is `centered`, and sigma
            is within the levels that the file lists.

    Raises:
        ValueError: tensors that are missing, unexpected or mis-shaped, or averaged ones that are not those of the
            model.
    """
    tensors = _averaged(foreign) if averaged else state(foreign.content)
    levels = tensors.pop(LEVELS, None)
    config = ncsnpp_config(tensors)
    config |= {} if taps is None else {"taps": taps}
    with torch.random.fork_rng(devices=[]):  # a network is initialised before it is filled
        net = NCSNpp(**config, skip_rescale=skip_rescale, scale_by_sigma=scale_by_sigma, centered=centered)
    net = fill(net, tensors, str(foreign.path))
    variance_exploding = config["noise"] == "fourier"
    found: dict[str, Any] = {
        "channels": "complex2" if net.channels == 2 else "real",
        "net_channels": net.channels,
        "multiple": net.multiple,
        "net_range": (-1.0, 1.0) if net.centered else (0.0, 1.0),
        **declared,
    }
    if variance_exploding and levels is not None:
        ends = float(levels.min()), float(levels.max())
        found = trained_levels(*ends, found["net_range"], declared.get("range")) | found
    chosen = parameterisation or (Score() if variance_exploding else ContinuousEpsilon())
    return AdaptedPrior(net, chosen, **found)


SCORE_SDE = Format("NCSN++ of the score-SDE code (all_modules.N, sigmas)", recognise, read)


def _averaged(foreign: Foreign) -> dict[str, Tensor]:
    """The tensors of the model, those that were trained replaced by their averages, which the file lists by order."""
    tensors = state(foreign.content)
    held = foreign.content.get("ema") if isinstance(foreign.content, Mapping) else None
    shadow = held.get("shadow_params") if isinstance(held, Mapping) else held
    if not isinstance(shadow, (list, tuple)) or not shadow:
        return tensors
    frequencies = {name for name, t in tensors.items() if name.endswith(".W") and t.ndim == 1}  # drawn, not trained
    trained = [name for name in tensors if name != LEVELS and name not in frequencies]
    shapes = [tuple(tensors[name].shape) for name in trained]
    if [tuple(t.shape) for t in shadow] != shapes:
        raise ValueError(
            f"{foreign.path}: its {len(shadow)} averaged tensors are not the {len(trained)} trained ones of its model, "
            "one by one. Pass averaged=False for the weights of the last step."
        )
    return {**tensors, **dict(zip(trained, shadow, strict=True))}
