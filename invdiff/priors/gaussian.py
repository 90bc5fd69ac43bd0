"""D(x; sigma) = mu + C (C + sigma^2 I)^-1 (x - mu): the Gaussian prior, exact in everything.

Its Jacobian, posterior covariance and probability flow are functions of the same C, so that one prior gives a
network-free denoiser, a start for samplers and the reference every sampler can be tested against.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from invdiff.priors.analytic import AnalyticPrior, Seed, check_images, extent, noise_for
from invdiff.priors.container import as_parts, from_parts
from invdiff.priors.covariance import (
    Covariance,
    Gain,
    LowRankCovariance,
    StationaryCovariance,
    mirrored,
    nearest_orthonormal,
)
from invdiff.priors.ppca import probabilistic_pca
from invdiff.priors.prior import per_sample
from invdiff.shapes import dot, over


class GaussianPrior(AnalyticPrior):
    """x0 ~ N(mean, C); complex images are circular, with mean and C per real component.

    Args:
        mean: (C, H, W), real or complex.
        covariance: of the same shape and kind.

    Source: Wang and Vastola, arXiv 2412.09726; low rank plus floor after Tipping and Bishop, 1999.
    """

    kind = "gaussian"
    mean: Tensor

    def __init__(self, mean: Tensor, covariance: Covariance) -> None:
        if tuple(mean.shape) != covariance.shape or mean.is_complex() != covariance.complex:
            raise ValueError(
                f"mean {tuple(mean.shape)} {mean.dtype} and covariance {covariance.shape} must have the same shape and "
                "both be real or both complex."
            )
        super().__init__(covariance.shape, covariance.complex)
        self.register_buffer("mean", mean.detach()[None])
        self.covariance = covariance
        spread = 3 * covariance.variance().sqrt()
        low, high = extent(mean.detach() - spread), extent(mean.detach() + spread)
        self.range = (low[0], high[1])

    @classmethod
    def low_rank(cls, mean: Tensor, basis: Tensor, variances: Tensor, floor: float = 0.0) -> "GaussianPrior":
        """C = U diag(variances) U^H + floor (I - U U^H).

        Args:
            mean: (C, H, W). basis: orthonormal images (r, C, H, W); a real basis serves a complex mean too.
            variances: (r,), per real component. floor: variance outside the basis, per real component.
        """
        return cls(mean, LowRankCovariance(basis.to(mean.dtype) if mean.is_complex() else basis, variances, floor))

    @classmethod
    def stationary(cls, mean: Tensor, spectrum: Tensor) -> "GaussianPrior":
        """C = F^H diag(spectrum) F, with spectrum (C, H, W) centred and orthonormal, per real component."""
        return cls(mean, StationaryCovariance(spectrum, mean.is_complex()))

    @classmethod
    def fit(
        cls, images: Tensor, kind: Literal["low-rank", "stationary"] = "low-rank", rank: int = 50
    ) -> "GaussianPrior":
        """The likeliest Gaussian for images (N, C, H, W).

        low-rank: mean image, the `rank` leading principal components and the mean variance of the rest as floor.
        stationary: one mean value per channel and the mean power spectrum.

        Raises:
            ValueError: an unknown kind, or a rank above what the images hold.
        """
        check_images(images, 2)
        if kind == "low-rank":
            prior = cls._fit_low_rank(images, rank)
        elif kind == "stationary":
            prior = cls._fit_stationary(images)
        else:
            raise ValueError(f"kind must be 'low-rank' or 'stationary', got {kind!r}.")
        return prior.describe(range=extent(images))

    @classmethod
    def _fit_low_rank(cls, images: Tensor, rank: int) -> "GaussianPrior":
        flat = _double(images).flatten(1)
        mean = flat.mean(0)
        rows = (flat - mean) / math.sqrt(len(flat) * _components(images))
        basis, variances, floor = probabilistic_pca(rows, rank)
        shape = images.shape[1:]
        basis = basis.reshape(rank, *shape).to(images.dtype)
        return cls.low_rank(mean.reshape(shape).to(images.dtype), basis, variances, float(floor))

    @classmethod
    def _fit_stationary(cls, images: Tensor) -> "GaussianPrior":
        wide = _double(images)
        mean = wide.mean(dim=(0, -2, -1), keepdim=True)
        power = torch.fft.fft2(wide - mean, norm="ortho").abs().square().mean(0) / _components(images)
        if not images.is_complex():
            power = (power + mirrored(power)) / 2
        spectrum = torch.fft.fftshift(power, dim=(-2, -1)).to(images.dtype.to_real())
        return cls.stationary(mean[0].expand(images.shape[1:]).to(images.dtype).clone(), spectrum)

    def tensors(self) -> dict[str, Tensor]:
        """A basis in half precision, the rest in single."""
        c = self.covariance
        if isinstance(c, LowRankCovariance):
            basis = as_parts(c.basis.unflatten(1, c.shape)).half()
            own = {"basis": basis, "variances": c.spectrum[0, :-1].float(), "floor": c.spectrum[0, -1:].float()}
        elif isinstance(c, StationaryCovariance):
            own = {"spectrum": torch.fft.fftshift(c.power[0], dim=(-2, -1)).float()}
        else:
            raise TypeError(f"a covariance of type {type(c).__name__} has no files; low-rank and stationary ones do.")
        return {"mean": as_parts(self.mean[0]).float(), **own}

    def scalars(self) -> dict[str, Any]:
        return {"complex": self.complex}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> "GaussianPrior":
        """A basis is made orthonormal again after its rounding."""
        mean = from_parts(tensors["mean"], 3)
        if "spectrum" in tensors:
            return cls.stationary(mean, tensors["spectrum"])
        basis = from_parts(tensors["basis"], 4)
        basis = nearest_orthonormal(basis.flatten(1)).reshape(basis.shape)
        return cls.low_rank(mean, basis, tensors["variances"], float(tensors["floor"]))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.mean + self.covariance.filter(_wiener(level), x - self.mean)

    def _vjp(self, x: Tensor, level: Tensor, v: Tensor) -> Tensor:
        return self.covariance.filter(_wiener(level), v)

    def cov(self, v: Tensor) -> Tensor:
        """C v, (B, C, H, W)."""
        return self.covariance.filter(lambda lam: lam, v)

    def flow(self, x: Tensor, sigma_a: Tensor | float, sigma_b: Tensor | float) -> Tensor:
        """Where the probability-flow ODE takes x from noise level sigma_a to sigma_b (0 allowed).

        mu + ((C + sigma_b^2) / (C + sigma_a^2))^(1/2) (x - mu)

        Source: Wang and Vastola, arXiv 2412.09726, the closed-form solution of the Gaussian score model.
        """
        self._check(x)
        inner = x.to(self.dtype)
        start = per_sample(sigma_a, inner)
        end = torch.as_tensor(sigma_b, dtype=start.dtype, device=start.device).expand(len(x))

        def gain(lam: Tensor) -> Tensor:
            return ((lam + over(end, lam) ** 2) / (lam + over(start, lam) ** 2)).sqrt()

        return (self.mean + self.covariance.filter(gain, inner - self.mean)).to(x.dtype)

    def sample(self, n: int, seed: Seed = 0) -> Tensor:
        """n draws, (n, C, H, W), each from its own stream of the seed."""
        noise = noise_for(n, seed, self.device)
        white = noise.like(torch.zeros(n, *self.covariance.shape, dtype=self.dtype, device=self.device))
        return self.mean + self.covariance.filter(torch.sqrt, white)

    def log_density(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """log N(x; mean, C + sigma^2 I) of noisy images, (B,); the density is over real and imaginary parts."""
        self._check(x)
        inner = x.to(self.dtype)
        level = per_sample(sigma, inner)
        off = inner - self.mean

        def total(lam: Tensor) -> Tensor:
            return lam + over(level, lam) ** 2

        square = dot(off, self.covariance.filter(lambda lam: 1 / total(lam), off)).real
        log_det = self.covariance.trace(lambda lam: (2 * math.pi * total(lam)).log())
        return -0.5 * (square + _components(x) * log_det)


def _wiener(level: Tensor) -> Gain:
    return lambda lam: lam / (lam + over(level, lam) ** 2)


def _components(x: Tensor) -> int:
    """Real values per entry."""
    return 2 if x.is_complex() else 1


def _double(x: Tensor) -> Tensor:
    return x.to(torch.complex128 if x.is_complex() else torch.float64)
