"""A trained network as a prior: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), complex images as two channels."""

import torch
from torch import Tensor, nn

from invdiff.diffusion.precondition import edm
from invdiff.priors.channels import from_channels, to_channels
from invdiff.priors.prior import per_sample


class NetworkPrior(nn.Module):
    """An EDM-preconditioned network.

    Args:
        net: F, called as net(x, c_noise) with x (B, channels, H, W) float32 and c_noise (B,).
        sigma_data: standard deviation of the real components of the training images.
        complex: whether images are complex; net then sees real and imaginary parts as 2C channels.
        Other arguments: see `Prior`.

    The weights are frozen: gradients are taken with respect to the image only. Computation is in float32.
    """

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
    ) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.sigma_data, self.complex, self.range = sigma_data, complex, range
        self.sigma_min, self.sigma_max, self.shape = sigma_min, sigma_max, shape
        self.percentile, self.window, self.domain = percentile, window, domain

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x] for x (B, C, H, W) and sigma a number or (B,); same shape and dtype as x.

        Raises:
            TypeError: a real image for a complex prior, or the reverse.
        """
        if x.is_complex() != self.complex:
            wanted = "complex" if self.complex else "real"
            raise TypeError(f"this prior takes {wanted} images, got {x.dtype}.")
        c = edm(per_sample(sigma, x).float()[:, None, None, None], self.sigma_data)
        z = to_channels(x).to(torch.float32, memory_format=torch.channels_last)
        out = c.c_skip * z + c.c_out * self.net(c.c_in * z, c.c_noise.flatten())
        return from_channels(out.to(x.dtype.to_real()), self.complex)
