"""A trained network as a prior: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), complex images as two channels."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from invdiff.diffusion.precondition import edm
from invdiff.networks.drunet import coordinate_grid
from invdiff.priors.agreement import Agreement, compare
from invdiff.priors.channels import from_channels, to_channels
from invdiff.priors.execution import HALF, Execution, Half, Precision, choose, set_checkpointing
from invdiff.priors.frozen import Frozen, frozen
from invdiff.priors.mismatch import Checkable
from invdiff.priors.prior import per_sample

FIELDS = (
    "sigma_data",
    "complex",
    "range",
    "sigma_min",
    "sigma_max",
    "shape",
    "percentile",
    "window",
    "domain",
    "any_pose",
)


class NetworkPrior(Checkable, Frozen):
    """An EDM-preconditioned network.

    Args:
        net: F, called as net(x, c_noise) with x (B, channels, H, W) float32 and c_noise (B,); where it has an attribute
            `coordinates` that is true, as net(x, c_noise, coordinates) with (B or 1, 2, H, W), see `coordinate_grid`.
        sigma_data: standard deviation of the real components of the training images.
        complex: whether images are complex; net then sees real and imaginary parts as 2C channels.
        any_pose: whether it was trained on images in all of eight poses, by flips and quarter turns.
        Other arguments: see `Prior`.

    The weights are frozen and the network stays in evaluation, whatever `train` says: gradients are taken with respect
    to the image only, for the price of one more evaluation.
    Computation is in float32; `optimized` makes a prior that computes otherwise.
    """

    kind = "network"

    def __init__(
        self,
        net: nn.Module,
        *,
        sigma_data: float,
        complex: bool = False,
        range: tuple[float, float] = (-1.0, 1.0),
        sigma_min: float = 0.01,
        sigma_max: float = 10.0,
        shape: tuple[int | None, ...] | None = None,
        percentile: float | None = None,
        window: tuple[float, float] | None = None,
        domain: str = "",
        any_pose: bool = False,
    ) -> None:
        super().__init__()
        self.net = frozen(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.execution, self.memory_format = Execution(), torch.channels_last
        self.sigma_data, self.complex, self.range = sigma_data, complex, range
        self.sigma_min, self.sigma_max, self.shape = sigma_min, sigma_max, shape
        self.percentile, self.window, self.domain, self.any_pose = percentile, window, domain, any_pose

    @property
    def coordinates(self) -> bool:
        """Whether the network wants to know where the pixels lie."""
        return bool(getattr(self.net, "coordinates", False))

    def forward(self, x: Tensor, sigma: Tensor | float, coordinates: Tensor | None = None) -> Tensor:
        """E[x0 | x] for x (B, C, H, W) and sigma a number or (B,); same shape and dtype as x.

        Args:
            coordinates: (B or 1, 2, H, W), for a network that wants them; None: x is the full image.

        Raises:
            TypeError: a real image for a complex prior, or the reverse.
        """
        self._check_dtype(x)
        if coordinates is None and self.coordinates:
            coordinates = coordinate_grid(x.shape[-2], x.shape[-1], x.device)
        place = () if coordinates is None else (coordinates,)
        c = edm(per_sample(sigma, x).float()[:, None, None, None], self.sigma_data)
        z = to_channels(x).to(torch.float32, memory_format=self.memory_format)
        out = c.c_skip * z + c.c_out * self.execution(self.net, sigma, c.c_in * z, c.c_noise.flatten(), *place)
        return from_channels(out.to(x.dtype.to_real()), self.complex)

    def optimized(
        self,
        precision: Precision | Literal["auto"] = "auto",
        *,
        finish: float = 0.05,
        channels_last: bool = True,
        compile: bool = False,
        cuda_graph: bool = False,
        checkpointing: bool = False,
    ) -> "NetworkPrior":
        """A copy that computes faster or in less memory; this prior stays as it is.

        Call it where the prior will run: "auto" looks at the device that it is on. What the copy costs in accuracy
        says its `compare_precision`.

        Args:
            precision: of the network; everything around it is in float32. "auto": "bf16" where the device has
                instructions for it, else "fp32". Good for high and middle noise: bf16 errs by some hundredths of sigma
                at sigma 0.02.
            finish: noise level below which the network computes in float32 all the same; 0: never.
            channels_last: memory order of images and weights.
            compile: by `torch.compile`: minutes for each new shape, and it needs a C++ compiler; on CPUs not worth it.
            cuda_graph: replay recorded kernels; evaluations without gradients on CUDA only, elsewhere no change.
            checkpointing: stages are computed again for input gradients instead of kept.

        Raises:
            ValueError: unknown precision, or a network without stages to checkpoint.
        """
        prior = NetworkPrior(copy.deepcopy(self.net), **{name: getattr(self, name) for name in FIELDS})
        prior.reference_statistics = self.reference_statistics
        net: Any = prior.net
        set_checkpointing(net, checkpointing)
        prior.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        net.to(memory_format=prior.memory_format)
        chosen = choose(precision, next(net.parameters(), torch.empty(0)).device)
        half = None if chosen == "fp32" else Half(net, HALF[chosen])
        prior.execution = Execution(half, finish, cuda_graph)
        for part in filter(None, (net, half)) if compile else ():
            part.compile(dynamic=False)
        return prior

    def compare_precision(self, images: Tensor, sigmas: Sequence[float] = (0.02, 0.05, 0.2, 1.0)) -> Agreement:
        """This prior against itself in float32 on clean images (B, C, H, W), in the prior's units."""
        return compare(self, self.optimized("fp32"), images, sigmas)
