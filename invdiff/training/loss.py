"""loss = E lambda(sigma) |D(x0 + sigma n; sigma) - x0|^2,   D = c_skip x + c_out F(c_in x; c_noise).

Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, eq. 108 and Table 1.
Differs: sigma is stratified over the batch, which lowers the variance of the gradient.
"""

import math

import torch
from torch import Tensor, nn

from invdiff.diffusion.precondition import edm, edm_weight
from invdiff.shapes import over
from invdiff.training.batches import Part
from invdiff.training.config import Noise
from invdiff.training.draws import Draws
from invdiff.training.precision import Precision

EXACT = Precision("fp32", torch.device("cpu"))  # adds nothing


def part_loss(
    net: nn.Module, part: Part, noise: Noise, precision: Precision = EXACT, *, with_place: bool = False
) -> Tensor:
    """The loss of a part, times its share of the batch, so that parts add up to the loss of the batch.

    Args:
        with_place: whether `net` takes the coordinates of the pixels.
    """
    x0, draw = part.x0, part.draw
    sigma = draw_sigma(draw, noise)
    x = x0 + over(sigma, x0) * draw.normal(*x0.shape[1:])
    error = denoise(net, x, sigma, noise.sigma_data, part.place if with_place else None, precision) - x0
    return part.weight * (edm_weight(sigma, noise.sigma_data) * error.square().mean((1, 2, 3))).mean()


def draw_sigma(draw: Draws, noise: Noise) -> Tensor:
    """Noise levels, one in each of the batch's equally likely intervals, (rows,)."""
    u = draw.strata()
    if noise.distribution == "log-uniform":
        low, high = math.log(noise.min), math.log(noise.max)
        return torch.exp(low + (high - low) * u)
    normal = math.sqrt(2) * torch.erfinv((2 * u - 1).clamp(-0.999999, 0.999999))
    return torch.exp(noise.mean + noise.std * normal).clamp(noise.min, noise.max)


def denoise(
    net: nn.Module,
    x: Tensor,
    sigma: Tensor,
    sigma_data: float,
    place: Tensor | None = None,
    precision: Precision = EXACT,
) -> Tensor:
    """D(x; sigma), the network in its precision and everything around it in float32; x (B, C, H, W), sigma (B,)."""
    c = edm(over(sigma, x), sigma_data)
    inputs = (c.c_in * x, c.c_noise.flatten())
    with precision.autocast():
        f = net(*inputs) if place is None else net(*inputs, place)
    out: Tensor = c.c_skip * x + c.c_out * f.float()
    return out


def wants_place(net: nn.Module) -> bool:
    """Whether the network takes the coordinates of the pixels as a third argument."""
    return bool(getattr(net, "coordinates", False))
