"""x = phase(contrast(pose(u))): random geometry, contrast and smooth phase on a batch, on any device.

u: (B, C, H, W), one channel for magnitudes or real images, two for real and imaginary part. Every function draws its
numbers row by row (`Draws`), so that a row does not depend on the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from invdiff.training.config import Augment
from invdiff.training.draws import Draws


@dataclass(frozen=True)
class Pose:
    """Where the output lies in each stored image.

    turn: (B, 2, 2), output pixels to stored pixels. centre: (B, 2), (x, y) of the output window in its own half sides.
    size: side of the output. oversample: samples per output pixel and axis.
    """

    turn: Tensor
    centre: Tensor
    size: int
    oversample: int


def draw_pose(draw: Draws, augment: Augment, size: int, scale: tuple[float, float], shift: float) -> Pose:
    """Random flip, quarter turn, rotation, scale (output pixels per stored pixel) and shift (in output sides)."""
    zoom = torch.exp(draw.uniform(math.log(scale[0]), math.log(scale[1])))
    angle = draw.uniform(-augment.rotation, augment.rotation) * math.pi / 180
    if augment.quarter_turns:
        angle = angle + math.pi / 2 * draw.below(4)
    flip = 1 - 2.0 * draw.below(2) if augment.flip else torch.ones_like(angle)
    centre = 2 * draw.uniform(-shift, shift, 2)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    turn = torch.stack([flip * cos, -flip * sin, sin, cos], 1).view(-1, 2, 2)
    return Pose(turn, centre, size, max(2, round(1 / scale[0])))


def resample(u: Sequence[Tensor], pose: Pose) -> Tensor:
    """Stored images (C, H, W), of any sizes, through their poses: (B, C, size, size).

    Bilinear at `oversample` points per output pixel and axis, averaged, so that shrinking does not alias. Outside the
    stored image is 0.
    """
    out = pose.turn.new_empty(len(u), u[0].shape[0], pose.size, pose.size)
    for shape in dict.fromkeys(image.shape for image in u):
        rows = [i for i, image in enumerate(u) if image.shape == shape]
        out[rows] = _resample(torch.stack([u[i] for i in rows]).to(out), pose, rows)
    return out


def _resample(u: Tensor, pose: Pose, rows: list[int]) -> Tensor:
    side = pose.size * pose.oversample
    stored = torch.tensor([u.shape[-1], u.shape[-2]], dtype=u.dtype, device=u.device)
    turn = pose.turn[rows] * pose.size / stored[:, None]  # half sides of the output to half sides of the stored image
    theta = torch.cat([turn, turn @ pose.centre[rows][:, :, None]], 2)
    grid = F.affine_grid(theta, [*u.shape[:2], side, side], align_corners=False)
    return F.avg_pool2d(F.grid_sample(u, grid, align_corners=False), pose.oversample)


def coordinates(pose: Pose, full: int) -> Tensor:
    """Where the pixels of a window lie in a full image of side `full`, (B, 2, size, size): x, y with edges at -1, 1.

    A full image covers all of it, wherever the anatomy was shifted to.
    """
    size = pose.size
    line = (2 * torch.arange(size, dtype=torch.float32, device=pose.turn.device) + 1 - size) / size
    own = torch.stack([line.expand(size, size), line[:, None].expand(size, size)])
    if size == full:
        return own.expand(len(pose.turn), 2, size, size)
    return (own + pose.centre[:, :, None, None]) * (size / full)


def contrast(u: Tensor, draw: Draws, augment: Augment) -> Tensor:
    """|u|^(gamma - 1) u, times a gain and a smooth multiplicative bias field."""
    factor = torch.exp(draw.uniform(*augment.gain, 1, 1, 1))
    if augment.gamma:
        gamma = torch.exp(draw.uniform(-augment.gamma, augment.gamma, 1, 1, 1))
        size = torch.linalg.vector_norm(u, dim=1, keepdim=True).clamp(min=1e-8)
        factor = factor * size ** (gamma - 1)
    if augment.bias:
        factor = factor * torch.exp(augment.bias * smooth_field(draw, 3, u.shape[-2:]))
    return u * factor


def smooth_field(draw: Draws, knots: int, shape: tuple[int, ...]) -> Tensor:
    """A random field of unit variance at its knots: knots x knots normal values, bicubic between, (B, 1, H, W)."""
    return F.interpolate(draw.normal(1, knots, knots), size=shape, mode="bicubic", align_corners=True)


def smooth_phase(draw: Draws, shape: tuple[int, ...]) -> Tensor:
    """Phase in radians, (B, 1, H, W): a constant, a ramp of up to one turn, and a smooth field of random strength.

    About what shim, receive coil and echo shift leave in a brain image; one image in eight is left as it is.
    """
    y = torch.linspace(-0.5, 0.5, shape[0], dtype=torch.float32, device=draw.device)[:, None]
    x = torch.linspace(-0.5, 0.5, shape[1], dtype=torch.float32, device=draw.device)
    constant = draw.uniform(-math.pi, math.pi, 1, 1, 1)
    ramp = 2 * math.pi * (draw.uniform(-1, 1, 1, 1, 1) * y + draw.uniform(-1, 1, 1, 1, 1) * x)
    bend = draw.uniform(0, 1.5, 1, 1, 1) * smooth_field(draw, 4, shape)
    left = draw.uniform(0, 1, 1, 1, 1) < 0.125
    return torch.where(left, torch.zeros_like(bend), constant + ramp + bend)


def turn_phase(u: Tensor, phase: Tensor) -> Tensor:
    """u exp(i phase) as two real channels, (B, 2, H, W); a single channel is a magnitude."""
    cos, sin = phase.cos(), phase.sin()
    if u.shape[1] == 1:
        return torch.cat([u * cos, u * sin], 1)
    re, im = u.chunk(2, 1)
    return torch.cat([re * cos - im * sin, re * sin + im * cos], 1)
