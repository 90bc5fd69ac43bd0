"""The arguments of an EDM network from the names and shapes of its tensors.

What they do not tell: the width of an attention head of `DhariwalUNet` (64 in all published files), and which class to
denoise for. Tensors are named as in `invdiff.networks.edm_unet`, without any prefix.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

LEVEL = re.compile(r"enc\.(\d+)x(\d+)_(conv|down)\.")
IGNORED = ("map_augment.weight",)  # labels of training augmentation, which are zero in use


def is_edm(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of an EDM network."""
    return "map_layer0.weight" in tensors and any(LEVEL.match(name) for name in tensors)


def edm_config(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the network whose tensors these are, for `invdiff.networks.build`.

    Raises:
        ValueError: the names are not those of an EDM network.
    """
    if not is_edm(tensors):
        raise ValueError("these tensors are not those of an EDM network (no map_layer0 and enc.RxR_conv among them).")
    try:
        return _config(tensors, _levels(tensors))
    except KeyError as error:
        raise ValueError(f"these tensors are part of an EDM network, of which {error} is missing.") from error


def _config(tensors: Mapping[str, Tensor], names: list[str]) -> tuple[str, dict[str, Any]]:
    conv = tensors[f"enc.{names[0]}_conv.weight"]
    blocks = sum(f"enc.{names[0]}_block{i}.conv0.weight" in tensors for i in range(len(tensors)))
    config: dict[str, Any] = {
        "in_channels": conv.shape[1],
        "size": [int(n) for n in names[0].split("x")],
        "first": conv.shape[0],
        "widths": [tensors[f"enc.{name}_block0.conv0.weight"].shape[0] for name in names],
        "blocks": blocks,
        "attention": [i for i, name in enumerate(names) if f"enc.{name}_block0.qkv.weight" in tensors],
        "features": tensors["map_layer0.weight"].shape[1],
        "embedding": tensors["map_layer0.weight"].shape[0],
        "label_dim": tensors["map_label.weight"].shape[1] if "map_label.weight" in tensors else 0,
    }
    if "out_conv.weight" in tensors:
        middle = f"dec.{names[-1]}_in0.qkv.weight" in tensors
        return "dhariwal-unet", config | {
            "out_channels": tensors["out_conv.weight"].shape[0],
            "middle_attention": middle,
        }
    return "song-unet", config | _song(tensors, names)


def _levels(tensors: Mapping[str, Tensor]) -> list[str]:
    sizes = {(int(m[1]), int(m[2])) for m in map(LEVEL.match, tensors) if m}
    return [f"{height}x{width}" for height, width in sorted(sizes, reverse=True)]


def _song(tensors: Mapping[str, Tensor], names: list[str]) -> dict[str, Any]:
    inner = names[-1]
    encoder = "standard"
    for kind, tensor in (("skip", "aux_skip"), ("residual", "aux_residual")):
        if f"enc.{inner}_{tensor}.weight" in tensors:
            encoder = kind
    return {
        "out_channels": tensors[f"dec.{names[0]}_aux_conv.weight"].shape[0],
        "noise": "fourier" if "map_noise.freqs" in tensors else "positional",
        "encoder": encoder,
        "decoder": "skip" if len(names) > 1 and f"dec.{inner}_aux_conv.weight" in tensors else "standard",
        "taps": _taps(tensors.get(f"enc.{inner}_down.conv0.resample_filter")),
    }


def _taps(kernel: Tensor | None) -> list[int]:
    """(1, 3, 3, 1) from its normalised square; the filter of a network with a single level is never used."""
    if kernel is None:
        return [1, 1]
    row = kernel[0, 0].float().sum(0)
    return [round(float(value / row[0])) for value in row]
