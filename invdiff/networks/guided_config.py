"""The arguments of a `GuidedUNet` from the names and shapes of its tensors.

What they do not tell: the number of attention heads (64 channels per head in the files that papers share), the order of
queries, keys and values (legacy in the same), and which class to denoise for. Tensors are named as in
`invdiff.networks.guided_unet`, without any prefix.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

SIGNATURE = ("time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.0.in_layers.0.weight", "out.2.weight")


def is_guided(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of a guided-diffusion network."""
    return all(name in tensors for name in SIGNATURE)


def guided_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `GuidedUNet` without heads, order and label.

    Raises:
        ValueError: the names are not those of such a network, or it is one of a latent or text-conditional model.
    """
    if not is_guided(tensors):
        missing = [name for name in SIGNATURE if name not in tensors]
        raise ValueError(f"these tensors are not those of a guided-diffusion network: {', '.join(missing)} missing.")
    if any("transformer_blocks" in name for name in tensors):
        raise ValueError("this network is conditioned on text or of a latent model; priors are of images alone.")
    resampling, blocks = _resampling(tensors)
    level_starts = range(1, _count(tensors, "input_blocks"), blocks + 1)
    try:
        return {
            "in_channels": tensors["input_blocks.0.0.weight"].shape[1],
            "out_channels": tensors["out.2.weight"].shape[0],
            "base": tensors["time_embed.0.weight"].shape[1],
            "widths": [tensors[f"input_blocks.{i}.0.out_layers.3.weight"].shape[0] for i in level_starts],
            "blocks": blocks,
            "attention": [n for n, i in enumerate(level_starts) if f"input_blocks.{i}.1.qkv.weight" in tensors],
            "scale_shift": _scale_shift(tensors),
            "resampling": resampling,
            "classes": tensors["label_emb.weight"].shape[0] if "label_emb.weight" in tensors else 0,
        }
    except KeyError as error:
        raise ValueError(
            f"these tensors are part of a guided-diffusion network, of which {error} is missing."
        ) from error


def _resampling(tensors: Mapping[str, Tensor]) -> tuple[str, int]:
    """How resolutions change, and the blocks per level, which is where the first change comes."""
    for kind, sign in (
        ("conv", r"output_blocks\.(\d+)\.[12]\.conv\."),
        ("residual", r"output_blocks\.(\d+)\.[12]\.in_l"),
    ):
        found = [int(m[1]) for m in (re.match(sign, name) for name in tensors) if m]
        if found:
            return kind, min(found)
    steps = {int(m[1]) for m in (re.match(r"input_blocks\.(\d+)\.", name) for name in tensors) if m}
    absent = [i for i in range(max(steps)) if i not in steps]  # changes without weights leave no names
    return "plain", absent[0] - 1 if absent else max(steps)


def _count(tensors: Mapping[str, Tensor], group: str) -> int:
    return 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith(f"{group}."))


def _scale_shift(tensors: Mapping[str, Tensor]) -> bool:
    change = tensors["middle_block.0.emb_layers.1.weight"].shape[0]
    return change == 2 * tensors["middle_block.0.out_layers.3.weight"].shape[0]
