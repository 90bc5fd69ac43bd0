"""mean_r = sum_i x_i mean_i: an average of any width as a combination of stored averages of other widths and times.

An average up to step t with exponent gamma weighs the weights of step tau with p(tau) = (gamma + 1) tau^gamma /
t^(gamma + 1) on [0, t]; the steps of `PowerEMA` make this exact, not an approximation, for weights constant within a
step. The x_i are the least-squares fit of the p_i to the wanted profile p_r.

Source: Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models, 2024, appendix C.
Differs: the x_i are divided by their sum, so that weights which do not change come out as they are.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from invdiff.training.ema import gamma_of

LARGEST_ERROR = 0.05  # of the profile, beyond which a combination is no longer that average
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Member:
    """An average that was stored: its step and relative width."""

    step: int
    width: float


def dot(step_a: Array, gamma_a: Array, step_b: Array, gamma_b: Array) -> Array:
    """Integral of p_a p_b, up to the earlier of the two steps."""
    early: Array = np.minimum(step_a, step_b)
    late: Array = np.maximum(step_a, step_b)
    gamma_late = np.where(step_a > step_b, gamma_a, gamma_b)
    return (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) * (early / late) ** gamma_late / late


def combination(members: Sequence[Member], step: int, width: float) -> tuple[Array, float]:
    """The x_i, and the relative error |sum_i x_i p_i - p_r| / |p_r| of the profile; no member is later than `step`."""
    steps = np.array([m.step for m in members], np.float64)
    gammas = np.array([gamma_of(m.width) for m in members])
    at, gamma = np.array([step], np.float64), np.array([gamma_of(width)])
    gram = dot(steps[:, None], gammas[:, None], steps[None], gammas[None])
    target = dot(steps, gammas, at, gamma)
    norm = np.sqrt(np.diag(gram))
    x = np.linalg.lstsq(gram / np.outer(norm, norm), target / norm, rcond=1e-12)[0] / norm
    x /= x.sum()
    own = float(dot(at, gamma, at, gamma)[0])
    square = float(own - 2 * x @ target + x @ gram @ x)
    return x, math.sqrt(max(square, 0.0) / own)


def rebuild(
    members: Sequence[Member], tensors: Iterable[Mapping[str, Tensor]], step: int, width: float
) -> dict[str, Tensor]:
    """The average of the relative width `width` up to `step`, float32.

    Args:
        tensors: the parameters of each member, taken one after the other, so that few are in memory.

    Raises:
        ValueError: the members do not determine that average to 5 % of its profile.
    """
    x, error = combination(members, step, width)
    if error > LARGEST_ERROR:
        known = ", ".join(f"{w:g}" for w in sorted({m.width for m in members}))
        raise ValueError(
            f"an average of relative width {width:g} cannot be made from the {len(members)} stored ones, of widths "
            f"{known}: the profile would be off by {error:.0%}. Ask for a width nearer to these, or keep more of them."
        )
    out: dict[str, Tensor] = {}
    for weight, member in zip(x.tolist(), tensors, strict=True):
        for name, value in member.items():
            term = weight * value.double()
            out[name] = out[name] + term if name in out else term
    return {name: value.float() for name, value in out.items()}
