"""One training on several processes, started by torchrun: gradients are averaged, everything else is done alike by all.

Every process draws the random numbers of the whole batch and keeps its rows (`invdiff.training.draws`), so the number
of processes changes a result by rounding only.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(hours=2)  # what the others wait while the first process reads, validates or writes


@dataclass(frozen=True)
class World:
    """This process among its peers; a process alone is a world of one."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process reports and writes."""
        return self.rank == 0

    def wrap(self, net: nn.Module) -> nn.Module:
        """`net` with gradients averaged over the processes."""
        if self.size == 1:
            return net
        ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=ids, broadcast_buffers=False)

    def accumulating(self, wrapped: nn.Module, is_last: bool) -> AbstractContextManager[None]:
        """Hold gradients back until the last part of a step."""
        if is_last or not isinstance(wrapped, DistributedDataParallel):
            return nullcontext()
        hold: AbstractContextManager[None] = wrapped.no_sync()
        return hold

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the processes, the same on all of them."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()


@contextmanager
def joined(device: torch.device | str) -> Iterator[World]:
    """The world that torchrun's environment describes, left again at the end; a world of one without torchrun."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device(device)
    if size == 1 or dist.is_initialized():
        yield _present(device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield _present(device)
    finally:
        dist.destroy_process_group()


def _present(device: torch.device) -> World:
    if not dist.is_initialized():
        return World(device)
    return World(device, dist.get_rank(), dist.get_world_size())


def is_first_process() -> bool:
    """Whether torchrun calls this process the first, or there is no torchrun."""
    return int(os.environ.get("RANK", "0")) == 0
