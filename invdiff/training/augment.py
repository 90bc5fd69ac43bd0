"""From stored magnitude slices to complex training images: geometry, contrast, smooth phase, noise-free.

Everything runs on a batch and draws from one `torch.Generator`, so that training can resume to the bit.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def uniform(low: float, high: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def geometry(x: Tensor, size: int, scale: tuple[float, float], generator: Generator, shift: float = 0.05) -> Tensor:
    """Random flip, quarter turn, rotation (10 degrees), scale and shift; (B, 1, H, W) to (B, 1, size, size).

    `scale` is the range of output pixels per input pixel. Sampled at twice the output resolution and averaged 2x2,
    so that shrinking does not alias. Outside the slice is zero. `shift` is in units of the output side.
    """
    batch, _, height, width = x.shape
    zoom = torch.exp(uniform(math.log(scale[0]), math.log(scale[1]), (batch,), generator))
    angle = uniform(-10, 10, (batch,), generator) * math.pi / 180
    angle = angle + (math.pi / 2) * torch.randint(0, 4, (batch,), generator=generator)
    flip = 1 - 2.0 * torch.randint(0, 2, (batch,), generator=generator)
    offset = uniform(-shift, shift, (batch, 2), generator) * 2
    cos, sin = angle.cos() * size / zoom, angle.sin() * size / zoom
    rows = torch.stack([flip * cos / width, -flip * sin / width, sin / height, cos / height], 1).view(-1, 2, 2)
    theta = torch.cat([rows, rows @ offset[:, :, None]], 2)
    grid = F.affine_grid(theta, [batch, 1, 2 * size, 2 * size], align_corners=False)
    return F.avg_pool2d(F.grid_sample(x, grid, align_corners=False), 2).clamp_(min=0)


def contrast(x: Tensor, generator: Generator) -> Tensor:
    """Random gamma, smooth multiplicative bias field and overall gain on (B, 1, H, W) with values about [0, 1]."""
    batch = (x.shape[0], 1, 1, 1)
    gamma = torch.exp(uniform(-0.4, 0.4, batch, generator))
    gain = torch.exp(uniform(-0.35, 0.2, batch, generator))
    bias = torch.exp(0.25 * smooth_field(x.shape, 3, generator))
    return x.clamp(min=0) ** gamma * gain * bias


def smooth_field(shape: torch.Size | tuple[int, ...], knots: int, generator: Generator) -> Tensor:
    """A random field of unit variance at its knots: `knots` x `knots` normal values, interpolated bicubically."""
    values = torch.randn((shape[0], 1, knots, knots), generator=generator)
    return F.interpolate(values, size=shape[-2:], mode="bicubic", align_corners=True)


def smooth_phase(shape: torch.Size | tuple[int, ...], generator: Generator) -> Tensor:
    """Phase in radians, (B, 1, H, W): a constant, a ramp of up to one turn, and a smooth field of random strength.

    About what shim, receive coil and echo shift leave in a brain image; one image in eight is left real.
    """
    batch, height, width = shape[0], shape[-2], shape[-1]
    column = (batch, 1, 1, 1)
    constant = uniform(-math.pi, math.pi, column, generator)
    y = torch.linspace(-0.5, 0.5, height)[:, None]
    x = torch.linspace(-0.5, 0.5, width)
    ramp = 2 * math.pi * (uniform(-1, 1, column, generator) * y + uniform(-1, 1, column, generator) * x)
    bend = uniform(0, 1.5, column, generator) * smooth_field(shape, 4, generator)
    real = torch.rand(column, generator=generator) < 0.125
    return torch.where(real, torch.zeros_like(bend), constant + ramp + bend)


def complex_channels(magnitude: Tensor, phase: Tensor) -> Tensor:
    """m exp(i p) as two real channels, (B, 2, H, W)."""
    return torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], 1)
