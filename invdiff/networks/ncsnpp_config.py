"""The arguments of an NCSN++ network from its numbered list of layers, `all_modules.N`.

What the tensors do not tell: the resampling filter of "ddpm" blocks (none is assumed), whether residual sums are
divided by sqrt(2) (yes), whether the output is divided by sigma and which range images are in (see `NCSNpp`).
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor

NUMBERED = re.compile(r"all_modules\.(\d+)\.(.+)")
SIGNS = {  # a layer is of the first kind of which it has the tensor
    "W": "fourier",
    "NIN_3.W": "attention",
    "Conv_1.weight": "block",
    "Conv2d_0.weight": "smooth",
    "Conv_0.weight": "resample",
}
PLAIN = {1: "norm", 2: "linear", 4: "conv"}  # by the axes of `weight`

Layer = tuple[str, dict[str, Tensor]]


def is_ncsnpp(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of an NCSN++ network."""
    return any(re.fullmatch(r"all_modules\.\d+\.GroupNorm_1\.weight", name) for name in tensors)


def ncsnpp_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `NCSNpp` for these tensors, which carry no prefix.

    Raises:
        ValueError: the layers are not those of an NCSN++ network, or of one that is not covered.
    """
    layers = _layers(tensors)
    kinds = [kind for kind, _ in layers]
    fourier = kinds[:1] == ["fourier"]
    if kinds[fourier : fourier + 3] != ["linear", "linear", "conv"]:
        raise ValueError(
            f"an NCSN++ network starts with two linear layers for the noise level and a convolution, got {kinds[:4]}."
        )
    conv = layers[fourier + 2][1]["weight"]
    encoder = _encoder(layers[fourier + 3 :], conv.shape[0])
    return {
        "channels": conv.shape[1],
        "first": conv.shape[0],
        "noise": "fourier" if fourier else "positional",
        "progressive": "skip" if kinds.count("norm") > 1 else "none",
        **_levels(encoder),
        **_style(encoder),
    }


def _layers(tensors: Mapping[str, Tensor]) -> list[Layer]:
    grouped: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if match := NUMBERED.fullmatch(name):
            grouped.setdefault(int(match[1]), {})[match[2]] = tensor
    return [(_kind(grouped[i]), grouped[i]) for i in sorted(grouped)]


def _kind(layer: dict[str, Tensor]) -> str:
    for name, kind in SIGNS.items():
        if name in layer:
            return "combine" if kind == "resample" and layer[name].shape[-1] == 1 else kind
    return PLAIN.get(layer["weight"].ndim, "unknown") if "weight" in layer else "unknown"


def _encoder(layers: list[Layer], first: int) -> list[Layer]:
    """Those before the three layers of the middle, which end where the first block takes wider input than came out."""
    at = first
    for i, (kind, layer) in enumerate(layers):
        if kind == "block":
            weight = layer["Conv_0.weight"]
            if weight.shape[1] != at:
                return layers[: max(i - 3, 0)]
            at = weight.shape[0]
    raise ValueError("no decoder follows the encoder of this NCSN++ network: the file is incomplete.")


def _levels(encoder: list[Layer]) -> dict[str, Any]:
    """Widths, blocks and attention: a level ends with a block that resamples or, of "ddpm" blocks, a convolution."""
    widths: list[int] = []
    attention: set[int] = set()
    blocks = [0]
    for kind, layer in encoder:
        if kind == "attention":
            attention.add(len(blocks) - 1)
        elif _halves(kind, layer):
            blocks += [0] if blocks[-1] else []  # a second convolution in a row is for the image
        elif kind == "block":
            blocks[-1] += 1
            widths += [layer["Conv_0.weight"].shape[0]] if blocks[-1] == 1 else []
    if len(set(blocks)) != 1:
        raise ValueError(f"an NCSN++ network has equally many blocks per level, got {blocks}.")
    return {"widths": widths, "blocks": blocks[0], "attention": sorted(attention)}


def _halves(kind: str, layer: dict[str, Tensor]) -> bool:
    if kind == "block":
        weight = layer["Conv_0.weight"]
        return "Conv_2.weight" in layer and weight.shape[0] == weight.shape[1]
    return kind == "resample"


def _style(encoder: list[Layer]) -> dict[str, Any]:
    kinds = [kind for kind, _ in encoder]
    biggan = any(kind == "block" and _halves(kind, layer) for kind, layer in encoder)
    doubled = any(a == b == "resample" for a, b in pairwise(kinds))
    averaged = doubled or (biggan and "resample" in kinds)  # copies of the image that no smooth filter has made
    progressive_input = "none"
    if "smooth" in kinds or averaged:
        progressive_input = "residual"
    elif "combine" in kinds:
        progressive_input = "skip"
    return {
        "block": "biggan" if biggan or "resample" not in kinds else "ddpm",
        "progressive_input": progressive_input,
        "taps": [1, 3, 3, 1] if "smooth" in kinds or (biggan and not averaged) else [1, 1],
    }
