"""C = V diag(lambda) V^H: covariances known by their eigenvectors, so that every f(C) costs one product.

f(C) = V diag(f(lambda)) V^H serves denoiser, sampling, probability flow, inverse and determinant alike. Covariances of
complex images are per real component, E[(x - mu)(x - mu)^H] / 2.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from invdiff.module import Movable
from invdiff.shapes import Shape

Gain = Callable[[Tensor], Tensor]
"""Eigenvalues (1, ...) to factors that broadcast to (B, ...)."""


class Covariance(Movable):
    """C acting on images (B, *shape)."""

    shape: Shape
    complex: bool

    def filter(self, gain: Gain, v: Tensor) -> Tensor:
        """f(C) v for f = gain, (B, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} must define filter.")

    def trace(self, gain: Gain) -> Tensor:
        """tr f(C), (B,); twice that in the real coordinates of complex images."""
        raise NotImplementedError(f"{type(self).__name__} must define trace.")

    def variance(self) -> Tensor:
        """diag C, shape (C, H, W), real."""
        raise NotImplementedError(f"{type(self).__name__} must define variance.")


class LowRankCovariance(Covariance):
    """U diag(variances) U^H + floor (I - U U^H).

    Args:
        basis: orthonormal images (r, C, H, W), real or complex; r may be 0.
        variances: (r,), 0 or more.
        floor: variance of every direction outside the basis, 0 or more.

    Raises:
        ValueError: shapes that do not match, negative variances, a basis that is not orthonormal.
    """

    basis: Tensor
    spectrum: Tensor

    def __init__(self, basis: Tensor, variances: Tensor, floor: float) -> None:
        super().__init__()
        if basis.ndim != 4 or variances.shape != basis.shape[:1]:
            raise ValueError(
                f"basis must be (r, C, H, W) and variances (r,), got {tuple(basis.shape)} and {tuple(variances.shape)}."
            )
        check_variances(variances, torch.tensor(floor))
        check_orthonormal(basis.flatten(1))
        self.shape, self.complex = tuple(basis.shape[1:]), basis.is_complex()
        self.register_buffer("basis", basis.detach().flatten(1))
        last = torch.tensor([floor], dtype=basis.dtype.to_real(), device=basis.device)
        self.register_buffer("spectrum", torch.cat([variances.detach().to(last), last])[None])

    def filter(self, gain: Gain, v: Tensor) -> Tensor:
        factors = gain(self.spectrum)
        inside, outside = factors[:, :-1], factors[:, -1:]
        flat = v.flatten(1)
        z = flat @ self.basis.mH
        return (outside * flat + ((inside - outside) * z) @ self.basis).reshape(v.shape)

    def trace(self, gain: Gain) -> Tensor:
        factors = gain(self.spectrum)
        rank, size = self.basis.shape
        return factors[:, :-1].sum(1) + (size - rank) * factors[:, -1]

    def variance(self) -> Tensor:
        inside, outside = self.spectrum[0, :-1], self.spectrum[0, -1]
        return (outside + ((inside - outside)[:, None] * self.basis.abs() ** 2).sum(0)).reshape(self.shape)


class StationaryCovariance(Covariance):
    """F^H diag(P) F with F the centred orthonormal Fourier transform of each channel.

    Args:
        spectrum: P(k), (C, H, W), 0 or more, zero frequency at (H // 2, W // 2). For real images P(k) = E|F(x - mu)|^2
            and even in k; for complex ones half of that expectation.
        is_complex: whether images are complex.

    Raises:
        ValueError: a negative spectrum, or one that is not even in k for real images.
    """

    power: Tensor

    def __init__(self, spectrum: Tensor, is_complex: bool) -> None:
        super().__init__()
        if spectrum.ndim != 3 or spectrum.is_complex():
            raise ValueError(f"the spectrum must be real (C, H, W), got {spectrum.dtype} {tuple(spectrum.shape)}.")
        check_variances(spectrum, torch.zeros(()))
        power = torch.fft.ifftshift(spectrum.detach(), dim=(-2, -1))
        if not is_complex and not torch.allclose(power, mirrored(power), rtol=1e-3, atol=0.0):
            raise ValueError(
                "the spectrum of real images must be even, P(k) = P(-k); average it with its mirror image."
            )
        self.shape, self.complex = tuple(spectrum.shape), is_complex
        self.register_buffer("power", power[None])

    def filter(self, gain: Gain, v: Tensor) -> Tensor:
        # Centring shifts are unitary and commute with a factor per frequency, so they cancel.
        out = torch.fft.ifft2(gain(self.power) * torch.fft.fft2(v, norm="ortho"), norm="ortho")
        return out if self.complex else out.real

    def trace(self, gain: Gain) -> Tensor:
        return gain(self.power).flatten(1).sum(1)

    def variance(self) -> Tensor:
        return self.power[0].mean(dim=(-2, -1), keepdim=True).expand(self.shape)


def mirrored(power: Tensor) -> Tensor:
    """P(-k) for a spectrum with zero frequency first."""
    return power.flip(-2, -1).roll((1, 1), (-2, -1))


def check_variances(variances: Tensor, floor: Tensor) -> None:
    """Refuse variances that are negative or not finite."""
    for values in (variances, floor):
        if not bool((torch.isfinite(values) & (values >= 0)).all()):
            raise ValueError(f"variances must be finite and 0 or more, got a least value of {float(values.min()):.3g}.")


def check_orthonormal(rows: Tensor) -> None:
    """Refuse rows (..., r, d) unless they are orthonormal to single precision."""
    if rows.shape[-2] > rows.shape[-1]:
        raise ValueError(f"a basis of {rows.shape[-2]} vectors in {rows.shape[-1]} dimensions cannot be orthonormal.")
    gram = rows @ rows.mH
    error = (
        float((gram - torch.eye(rows.shape[-2], dtype=gram.dtype, device=gram.device)).abs().amax())
        if gram.numel()
        else 0.0
    )
    if error > 1e-4:
        raise ValueError(f"the basis is not orthonormal (its Gram matrix is off by {error:.2g}); use torch.linalg.qr.")


def nearest_orthonormal(rows: Tensor) -> Tensor:
    """The orthonormal rows nearest to rows (..., r, d) that are so up to rounding.

        R <- R + (I - R R^H) R / 2, whose error is squared each time.

    Source: Bjorck and Bowie, An iterative algorithm for computing the best estimate of an orthogonal matrix, 1971.
    """
    wide = rows.to(torch.complex128 if rows.is_complex() else torch.float64)
    one = torch.eye(rows.shape[-2], dtype=wide.dtype, device=rows.device)
    for _ in range(4):  # from half precision, 1e-2 at worst, to 1e-16 in three
        wide = wide + (one - wide @ wide.mH) @ wide / 2
    return wide.to(rows.dtype)
