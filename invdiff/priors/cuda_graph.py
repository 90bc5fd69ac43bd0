"""net(*inputs) as a CUDA graph: all kernels of an evaluation started at once, so that small networks do not wait.

Written to the documentation of PyTorch; not run on a GPU yet.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

_KEPT = 4  # shapes; each holds the memory of one evaluation
_WARM = 3  # runs before recording, in which libraries choose their kernels

Recorded = tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]


class Replayed:
    """Records `net` at the first call with inputs of a shape, and replays it from then on.

    Inputs on a CPU, and inputs that gradients are taken of, pass to net itself. A recording reads the weights where
    they were; once they have moved, as `to` moves them, another is made.
    """

    def __init__(self, net: Callable[..., Tensor]) -> None:
        self.net = net
        self.recorded: dict[object, Recorded] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
        if differentiated or not all(t.is_cuda for t in inputs):
            return self.net(*inputs)
        weights = self.net.parameters() if isinstance(self.net, nn.Module) else ()
        key = (*((t.shape, t.stride(), t.dtype, t.device) for t in inputs), *(t.data_ptr() for t in weights))
        if key not in self.recorded:
            while len(self.recorded) >= _KEPT:
                del self.recorded[next(iter(self.recorded))]
            self.recorded[key] = self._record(inputs)
        graph, held, out = self.recorded[key]
        for place, value in zip(held, inputs, strict=True):
            place.copy_(value)
        graph.replay()
        return out.clone()

    def _record(self, inputs: tuple[Tensor, ...]) -> Recorded:
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(inputs[0].device)
        with torch.cuda.device(inputs[0].device), torch.inference_mode(False), torch.no_grad():  # whatever the mode now
            held = [t.clone() for t in inputs]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM):
                    self.net(*held)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph):
                out = self.net(*held)
        return graph, held, out
