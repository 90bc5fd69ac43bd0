"""How F(x, noise) is computed: in half precision at high noise, in float32 at low; compiled, or as a CUDA graph.

Inputs and outputs are float32 whatever happens inside, so that preconditioning never loses digits.
"""

import copy
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from invdiff.checks import require
from invdiff.priors.cuda_graph import Replayed

Precision = Literal["fp32", "bf16", "fp16"]
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose(precision: Precision | Literal["auto"], device: torch.device) -> Precision:
    """The precision asked for; "auto" is bf16 where the device has instructions for it, else fp32.

    Raises:
        ValueError: unknown precision.
    """
    if precision == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if precision not in get_args(Precision):
        raise ValueError(f"precision must be 'auto', {', '.join(map(repr, get_args(Precision)))}, got {precision!r}.")
    return precision


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes faster in bf16; a PyTorch that cannot tell of the processor is taken to mean no."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    query = getattr(torch.cpu, "get_capabilities", None)
    found = query() if query and device.type == "cpu" else {}
    return any(bool(found.get(name)) for name in ("avx512_bf16", "amx_bf16"))


class Half(nn.Module):
    """A copy of `net` with matrices and kernels in `dtype`, run under autocast; vectors stay in float32."""

    def __init__(self, net: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.dtype = copy.deepcopy(net), dtype
        for p in self.net.parameters():
            if p.ndim > 1:
                p.data = p.data.to(dtype)

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype, cache_enabled=False):  # a cache holds only trained weights
            out: Tensor = self.net(x, *rest)
        return out.float()


class Execution(nn.Module):
    """How a network is run; holds its copy in half precision, if there is one.

    Args:
        reduced: the network in half precision, for samples with sigma of `finish` or more; None: all are in float32.
        cuda_graph: replay recorded kernels, see `Replayed`.
    """

    def __init__(self, reduced: Half | None = None, finish: float = 0.0, cuda_graph: bool = False) -> None:
        super().__init__()
        require("finish", finish, at_least=0)
        self.reduced, self.finish, self.cuda_graph = reduced, finish, cuda_graph
        self.graphs: dict[nn.Module, Replayed] = {}

    def forward(self, net: nn.Module, sigma: Tensor | float, x: Tensor, *rest: Tensor) -> Tensor:
        """net(x, *rest); sigma a number or (B,). A tensor on another device is waited for, numbers are not."""
        if self.reduced is None:
            return self._run(net, x, *rest)
        high = (torch.as_tensor(sigma, device="cpu") >= self.finish).expand(len(x))
        if bool(high.all()) or not bool(high.any()):
            return self._run(self.reduced if bool(high[0]) else net, x, *rest)
        out = torch.zeros_like(x)
        for part, chosen in ((net, ~high), (self.reduced, high)):
            rows = chosen.nonzero()[:, 0].to(x.device)
            out = out.index_add(0, rows, self._run(part, *(t[rows] if len(t) > 1 else t for t in (x, *rest))))
        return out

    def _run(self, part: nn.Module, *inputs: Tensor) -> Tensor:
        if self.cuda_graph:
            return self.graphs.setdefault(part, Replayed(part))(*inputs)
        out: Tensor = part(*inputs)
        return out


def set_checkpointing(net: nn.Module, on: bool) -> None:
    """Let a network compute its stages again in the backward pass, where it can.

    Raises:
        ValueError: it cannot.
    """
    holder: Any = net
    if hasattr(net, "checkpointing"):
        holder.checkpointing = on
    elif on:
        raise ValueError(f"{type(net).__name__} has no stages to checkpoint; use checkpointing=False.")
