"""C(p, q) = sum_i c_i(p) c_i(q) + rest: a Gaussian of smooth images on one field of view, for a grid of any size.

The components c_i are functions of position, kept on a coarse grid. Sampled on H x W pixels they are still the same
pixel values, so that every pixel keeps its variance, while the eigenvalues of C, sums over pixels, grow with H W. The
noise of a pixel does not: a smooth structure seen by n times as many pixels is known to sigma / sqrt(n). The same
knowledge of an image therefore belongs to a noise level that grows with sqrt(H W), see `level_scale`.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from invdiff.checks import require
from invdiff.module import Movable
from invdiff.priors.analytic import check_images
from invdiff.priors.gaussian import GaussianPrior
from invdiff.priors.ppca import probabilistic_pca
from invdiff.shapes import Shape

KEPT = 4  # image sizes whose Gaussians stay in memory
_CHUNK = 64


class CoarseGaussian(Movable):
    """Makes the `GaussianPrior` of any image size: `at((C, H, W))`.

    Every size is taken as the same field of view on another grid, stretched where the aspect differs. Complex images
    are circular with mean 0, and as likely as their complex conjugates: C is then real and the components are too.

    Args:
        components: c_i, (r, C, h, w) real, orthogonal, scaled to standard deviations.
        mean: (C, h, w) real; 0 for complex images.
        rest: variance of a pixel that the components leave, spread evenly over the directions outside them.
        size: geometric mean of the sides of the images it was fitted to, in pixels.
        complex: whether images are complex; variances are then per real component.

    Source: low rank plus floor after Tipping and Bishop, Probabilistic principal component analysis, 1999.
    """

    components: Tensor
    mean: Tensor

    def __init__(self, components: Tensor, mean: Tensor, *, rest: float, size: float, complex: bool) -> None:
        super().__init__()
        if components.ndim != 4 or mean.shape != components.shape[1:] or components.is_complex() or mean.is_complex():
            raise ValueError(
                f"components must be real (r, C, h, w) and mean (C, h, w), got {tuple(components.shape)} "
                f"{components.dtype} and {tuple(mean.shape)} {mean.dtype}."
            )
        if complex and bool((mean != 0).any()):
            raise ValueError("a circular Gaussian of complex images has mean 0; pass zeros.")
        require("rest", rest, at_least=0)
        require("size", size, above=0)
        self.register_buffer("components", components.detach())
        self.register_buffer("mean", mean.detach())
        self.rest, self.size, self.complex = rest, size, complex
        self.shape: tuple[int | None, ...] = (mean.shape[0], None, None)
        self.sigma_max = 80.0
        self._made: dict[tuple[Shape, torch.device, torch.dtype], GaussianPrior] = {}

    @classmethod
    def fit(cls, images: Tensor, rank: int = 60, grid: int = 31) -> "CoarseGaussian":
        """The likeliest one for images (N, C, H, W), real or complex.

        Args:
            rank: components. grid: side of the coarse grid, odd, so that the band it holds is symmetric.

        Raises:
            ValueError: an even grid, one larger than the images, or a rank above what the images hold.
        """
        check_images(images, 2)
        if grid % 2 == 0 or grid > min(images.shape[-2:]):
            raise ValueError(f"grid must be odd and at most the side of the images, {images.shape[-2:]}, got {grid}.")
        mean = torch.zeros_like(images[0].real) if images.is_complex() else images.mean(0)
        coarse, power = [], 0.0
        for some in images.split(_CHUNK):
            parts = (torch.cat([some.real, some.imag]) if images.is_complex() else some - mean).double()
            power += float(parts.square().sum())
            coarse.append(resample(parts, (grid, grid)))
        rows = torch.cat(coarse)
        basis, variances, _ = probabilistic_pca(rows.flatten(1) / math.sqrt(len(rows)), rank)
        components = (variances.sqrt()[:, None] * basis).reshape(rank, *rows.shape[1:])
        return cls(
            components.float(),
            resample(mean, (grid, grid)).float(),
            rest=max(power / (len(rows) * mean.numel()) - float(variances.sum()) / rows[0].numel(), 0.0),
            size=math.sqrt(images.shape[-2] * images.shape[-1]),
            complex=images.is_complex(),
        )

    def level_scale(self, shape: Shape) -> float:
        """sqrt(H W) / size: the factor by which a noise level grows that hides as much as on the fitted grid."""
        return math.sqrt(shape[-2] * shape[-1]) / self.size

    def at(self, shape: Shape) -> GaussianPrior:
        """The Gaussian of images (C, H, W).

        Raises:
            ValueError: another number of channels.
        """
        if len(shape) != 3 or shape[0] != self.mean.shape[0]:
            raise ValueError(f"this Gaussian is of images ({self.mean.shape[0]}, H, W), got {tuple(shape)}.")
        key = (tuple(shape), self.mean.device, self.mean.dtype)
        if key not in self._made:
            while len(self._made) >= KEPT:
                self._made.pop(next(iter(self._made)))
            self._made[key] = self._make(shape)
        return self._made[key]

    def _make(self, shape: Shape) -> GaussianPrior:
        rows = resample(self.components.double(), shape[-2:]).flatten(1)
        variances, turn = torch.linalg.eigh(rows @ rows.mT)
        kept = variances > 1e-6 * variances.max()
        basis = turn[:, kept].mT @ rows / variances[kept].sqrt()[:, None]
        outside = basis.shape[1] - len(basis)
        mean = resample(self.mean, shape[-2:])
        return GaussianPrior.low_rank(
            mean + 0j if self.complex else mean,
            basis.reshape(-1, *shape).to(mean.dtype),
            variances[kept].to(mean.dtype),
            self.rest * basis.shape[1] / outside if outside else 0.0,
        )

    def tensors(self) -> dict[str, Tensor]:
        """For a file: components in half precision."""
        return {"components": self.components.half().cpu(), "mean": self.mean.half().cpu()}

    def scalars(self) -> dict[str, Any]:
        """For the text beside that file."""
        return {"rest": self.rest, "size": self.size, "complex": self.complex}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> "CoarseGaussian":
        """What both describe."""
        return cls(tensors["components"].float(), tensors["mean"].float(), **scalars)


def resample(images: Tensor, size: Shape) -> Tensor:
    """Real images (..., h, w) on another grid of the same field of view: their Fourier series, cut to what it holds."""
    old = tuple(images.shape[-2:])
    if old == tuple(size):
        return images
    spectrum = torch.fft.fftshift(torch.fft.fft2(images, norm="forward"), dim=(-2, -1))
    band = [(min(a, b) - 1) // 2 for a, b in zip(old, size, strict=True)]
    rows, columns = (slice(n // 2 - b, n // 2 + b + 1) for n, b in zip(old, band, strict=True))
    pads = [(n // 2 - b, n - (n // 2 + b + 1)) for n, b in zip(size, band, strict=True)]
    full = F.pad(spectrum[..., rows, columns], (*pads[1], *pads[0]))
    return torch.fft.ifft2(torch.fft.ifftshift(full, dim=(-2, -1)), norm="forward").real
