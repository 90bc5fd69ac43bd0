"""Psi = L L^H,   z = L^-1 y: coils whose noise is correlated or unequal, made white with unit level.

Psi = E[n n^H] / 2 over coils, so that after whitening the standard deviation per real component is 1: sigma_y = 1. Maps
are whitened by the same matrix.

Source: Pruessmann et al., Advances in Sensitivity Encoding with Arbitrary k-Space Trajectories, 2001; Kellman
and McVeigh, Image Reconstruction in SNR Units, 2005, for the bandwidth.
"""

import math

import torch
from torch import Tensor

from invdiff.checks import require

PER_COIL = 4  # independent noise samples for each coil, below which a covariance is not to be trusted


def noise_covariance(noise: Tensor, bandwidth_ratio: float = 1.0) -> Tensor:
    """Psi, (C, C) complex Hermitian.

    Args:
        noise: (C, ...) complex samples without signal: a noise scan, or `outermost` of a scan.
        bandwidth_ratio: receiver bandwidth of the scan over that of the noise scan.

    Raises:
        TypeError: real samples.
        ValueError: fewer than four samples per coil, values that are not finite, a ratio that is not positive.
    """
    require("bandwidth_ratio", bandwidth_ratio, above=0)
    if not noise.is_complex():
        raise TypeError(f"noise must be complex (C, ...), got {noise.dtype}.")
    samples = noise.flatten(1).to(torch.complex128)
    if samples.shape[1] < PER_COIL * len(samples):
        raise ValueError(
            f"{samples.shape[1]} noise samples are too few for the covariance of {len(samples)} coils; give "
            f"{PER_COIL * len(samples)} or more."
        )
    if not bool(torch.isfinite(samples).all()):
        raise ValueError("the noise samples hold NaN or infinite values; leave them out.")
    return (bandwidth_ratio / 2 / samples.shape[1] * (samples @ samples.mH)).to(noise.dtype)


def whitening_matrix(covariance: Tensor) -> Tensor:
    """L^-1, (C, C) complex lower triangular, for `mix_coils`.

    Raises:
        ValueError: the covariance is not positive definite: a coil without noise, or two of the same noise.
    """
    factor, fault = torch.linalg.cholesky_ex(covariance.to(torch.complex128))
    power = covariance.diagonal().real
    if int(fault) or bool((factor.diagonal().real.square() < 1e-9 * power).any()):
        raise ValueError(
            f"the noise covariance of {len(covariance)} coils is not positive definite. Leave out coils without "
            "noise or of the same noise, or estimate it from more samples."
        )
    unit = torch.eye(len(covariance), dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, unit, upper=False).to(covariance.dtype)


def outermost(samples: Tensor, trajectory: Tensor, share: float = 0.05) -> Tensor:
    """The samples farthest from the centre of k-space, (C, m): noise, where the object is smooth enough.

    Samples that are zero in all coils were filled in, not measured, and are left out.

    Args:
        samples: (C, n) complex. trajectory: (n, d), for Cartesian k-space the positions of its points.
        share: of the samples, in (0, 1].

    Raises:
        ValueError: sizes that disagree, or a share out of range.
    """
    require("share", share, above=0, at_most=1)
    if samples.ndim != 2 or len(trajectory) != samples.shape[1]:
        raise ValueError(
            f"outermost takes samples (C, n) and positions (n, d), got {tuple(samples.shape)} and "
            f"{tuple(trajectory.shape)}."
        )
    measured = (samples != 0).any(0)
    values, distance = samples[:, measured], trajectory[measured].norm(dim=-1)
    return values[:, distance.argsort(descending=True, stable=True)[: math.ceil(share * values.shape[1])]]
