"""bf16 where the device computes it fast, fp16 with a scaled loss on older GPUs, else fp32; weights are always fp32."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from invdiff.priors.execution import Precision as Name
from invdiff.priors.execution import has_bf16

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """How the network computes; preconditioning, loss, weights and averages stay in float32."""

    name: Name
    device: torch.device

    def autocast(self) -> AbstractContextManager[None]:
        """Run operations in this precision where that is safe."""
        dtype = _DTYPES.get(self.name)
        return torch.autocast(self.device.type, dtype or torch.bfloat16, enabled=dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss so that fp16 gradients neither vanish nor overflow; does nothing in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose(name: Name | Literal["auto"], device: torch.device) -> Precision:
    """The precision asked for, or with "auto" the fastest that the device has units for."""
    if name != "auto":
        return Precision(name, device)
    if has_bf16(device):
        return Precision("bf16", device)
    return Precision("fp16" if device.type == "cuda" else "fp32", device)
