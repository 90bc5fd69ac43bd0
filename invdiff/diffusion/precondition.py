"""EDM preconditioning: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise).

Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022, Table 1.
"""

from typing import NamedTuple

from torch import Tensor


class Precondition(NamedTuple):
    """The four coefficients, each of the shape of sigma."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def edm(sigma: Tensor, sigma_data: float) -> Precondition:
    """Coefficients that give network input and target unit variance at every sigma > 0."""
    total = sigma**2 + sigma_data**2
    return Precondition(
        c_skip=sigma_data**2 / total,
        c_out=sigma * sigma_data / total.sqrt(),
        c_in=1 / total.sqrt(),
        c_noise=sigma.log() / 4,
    )


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Loss weight lambda(sigma) = 1 / c_out^2: the same gradient scale at every noise level."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
