"""x = s mean_j g_theta(z + eta_j): an image that is the output of a network fitted to one measurement.

    theta <- Adam on  |A x - y|^2 / (s^2 |A|^2 n) + lam |mean_j g(z + eta_j) - z|^2 / n
    z     <- renew(x / s)   every so many iterations

with n the pixels and s the brightness of a first image, so that learning rates and lam transfer between scans. The
methods of this family are settings of this loop: which network, which z, which terms, when z is renewed, when to stop.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.networks.generator_blocks import SMALLEST
from invdiff.operators.base import LinearOperator, Operator
from invdiff.priors.channels import from_channels, to_channels
from invdiff.priors.prior import Prior
from invdiff.random import Noise
from invdiff.shapes import norm, over
from invdiff.solvers.method import Callback, image_is_complex, operator_norm
from invdiff.solvers.replicas import Replicas
from invdiff.solvers.stopping import Stop


@dataclass(frozen=True)
class Fit:
    """Settings of one fit.

    iterations: of Adam, at most. lr: its rate. lam: weight of the autoencoding term, where z is an image.
    every: iterations between renewals of z, 0 for none. jitter: standard deviation of eta. draws: number of eta_j.
    input_lr: Adam's rate for z itself, 0 to keep it. average: forgetting of the exponential average of x that is
    returned, 1 for x itself.
    """

    iterations: int
    lr: float
    lam: float = 0.0
    every: int = 0
    jitter: float = 0.0
    draws: int = 1
    input_lr: float = 0.0
    average: float = 1.0

    def __post_init__(self) -> None:
        require("iterations", self.iterations, at_least=1)
        require("lr", self.lr, above=0)
        require("draws", self.draws, at_least=1)
        require("average", self.average, above=0, at_most=1)
        for name in ("lam", "every", "jitter", "input_lr"):
            require(name, getattr(self, name), at_least=0)


class Problem:
    """y = A x in units of the brightness s of a rough image, which is worked out once.

    Attributes:
        y, op: as given. is_complex: of the image. channels: real ones of an image, two for each complex one.
        rough: the operator's first image, (B, *op.shape_in); None behind a non-linear operator, which has none.
        s: (B,), the 99th percentile of |rough|; 1 without it. scale: |A|^2.
    """

    def __init__(self, y: Tensor, op: Operator, prior: Prior | None = None) -> None:
        self.y, self.op = y, op
        self.is_complex = image_is_complex(y, op, prior)
        self.channels = op.shape_in[0] * (2 if self.is_complex else 1)
        self.rough = op.reference_image(y) if isinstance(op, LinearOperator) else None
        self.s, self.scale = _brightness(self.rough, y), operator_norm(op) ** 2

    def image(self, output: Tensor) -> Tensor:
        """Of the output of a network, (B, channels, H, W) real, to the image (B, *op.shape_in)."""
        return over(self.s, output) * from_channels(output, self.is_complex)

    def output(self, image: Tensor) -> Tensor:
        """The inverse of `image`."""
        channels = to_channels(image)
        return channels / over(self.s, channels)

    def first(self) -> Tensor:
        """The rough image as the output of a network, zero where there is none: input of autoencoding ones."""
        if self.rough is None:
            return torch.zeros((len(self.y), self.channels, *self.op.shape_in[1:]), device=self.y.device)
        return self.output(self.rough)

    def energy(self, residual: Tensor) -> Tensor:
        """sum_b |A x - y|^2 / (s^2 |A|^2)."""
        return (norm(residual) / self.s).square().sum() / self.scale


def _brightness(rough: Tensor | None, y: Tensor) -> Tensor:
    if rough is None:
        return torch.ones(len(y), device=y.device)
    s = torch.quantile(rough.abs().flatten(1).float(), 0.99, dim=1)
    return torch.where(s > 0, s, 1.0)


Renew = Callable[[Tensor], Tensor]


def fit(
    problem: Problem,
    replicas: Replicas,
    z: Tensor,
    settings: Fit,
    stop: Stop,
    *,
    noise: Noise,
    callback: Callback,
    renew: Renew | None = None,
    mask: dict[str, Tensor] | None = None,
) -> Tensor:
    """Fit a network to each y (B, *op.shape_out); returns the images that the stop rule chose, (B, *op.shape_in).

    Args:
        replicas: the networks, one for each y.
        z: inputs, (B, channels, h, w) real.
        renew: next z from the present output, both (B, channels, H, W) real, in units of the brightness s.
        mask: parameters that may differ from 0, by name, (*shape) or (B, *shape) bool; the others stay 0 exactly.
    """
    y, op = problem.y, problem.op
    kept = _kept(replicas, mask)
    z = z.clone().requires_grad_(settings.input_lr > 0)
    adam = torch.optim.Adam(list(replicas.parameters.values()), lr=settings.lr, foreach=True)
    if settings.input_lr:
        adam.add_param_group({"params": [z], "lr": settings.input_lr})
    output, shown, ended = z, None, torch.zeros(len(y), dtype=torch.bool, device=y.device)
    for i in range(settings.iterations):
        if renew is not None and settings.every and i and i % settings.every == 0:
            z = renew(output.detach())
        with torch.enable_grad():
            output = replicas(_jittered(z, settings, noise)).mean(1)
            x = problem.image(output)
            residual = op(x) - y
            fitted = residual if stop.weights is None else residual * stop.weights
            loss = problem.energy(fitted)
            if settings.lam:
                loss = loss + settings.lam * (output - z).square().sum()
            adam.zero_grad()
            (loss / output[0].numel()).backward()
        shown = x.detach() if shown is None else torch.lerp(shown, x.detach(), settings.average)
        score = stop.look(i, shown, residual.detach()).masked_fill(ended, torch.nan)
        ended = stop.done
        callback(i, settings.iterations, x=shown, x0=stop.chosen, misfit=norm(residual.detach()), score=score)
        if bool(stop.done.all()):
            break
        adam.step()
        for values, mine in kept:
            values.data.mul_(mine)
    return stop.chosen


def fixed_noise(y: Tensor, noise: Noise, channels: int, size: tuple[int, int]) -> Tensor:
    """z uniform in (0, 0.1), (B, channels, *size): the input of networks that make an image from nothing."""
    blank = torch.zeros((len(y), channels, *size), dtype=y.dtype.to_real(), device=y.device)
    return 0.1 * torch.special.ndtr(noise.like(blank))


def not_planar(op: Operator) -> str | None:
    """Why the networks here cannot make the images behind an operator."""
    if len(op.shape_in) == 3 and min(op.shape_in[1:]) >= SMALLEST:
        return None
    return f"its networks make (C, H, W) of {SMALLEST} pixels a side or more, not {op.shape_in}. Use tv or cg."


def _jittered(z: Tensor, settings: Fit, noise: Noise) -> Tensor:
    """z + eta_j, (B, draws, channels, h, w)."""
    draws = z[:, None].expand(-1, settings.draws, *z.shape[1:])
    return draws + settings.jitter * noise.like(draws) if settings.jitter else draws


def _kept(replicas: Replicas, mask: dict[str, Tensor] | None) -> list[tuple[Tensor, Tensor]]:
    """Parameters with the mask of each, having set what is masked to 0."""
    kept = [(replicas.parameters[name], mine) for name, mine in (mask or {}).items()]
    for values, mine in kept:
        values.data.mul_(mine)
    return kept
