"""D(x; sigma) = W sum_p P_p^T D_patch(P_p x; sigma): a Gaussian mixture on overlapping patches.

P_p takes patch p out of the image, D_patch is the exact denoiser of a mixture of low-rank Gaussians on patches, and W
divides by the number of patches over each pixel.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from invdiff.priors.analytic import AnalyticPrior, check_images, extent
from invdiff.priors.container import as_parts, from_parts
from invdiff.priors.covariance import nearest_orthonormal
from invdiff.priors.em import fit_mixture
from invdiff.priors.low_rank_mixture import LowRankMixture
from invdiff.priors.patches import patch_grid, random_patches

_CHUNK = 4096


class PatchMixturePrior(AnalyticPrior):
    """A mixture of Gaussians on patches of single-channel images of any size, real or complex.

    D averages the patch posterior means, which makes it a good denoiser but not the posterior mean of one density over
    images; its Jacobian is exact for D. Gradients by autograd run through the closed form and keep no graph, so they
    are first order only. Memory does not grow with the image beyond a few images and 4096 patches.

    Args:
        mixture: on vectors of patch^2 values.
        patch: p. stride: between neighbouring patches.
        is_complex: whether images are complex; one component then explains real and imaginary parts together.

    Source: Zoran and Weiss, From learning models of natural image patches to whole image restoration, 2011. We average
        the posterior means once at the known sigma, instead of alternating with an increasing weight of the patches.
    """

    kind = "patch-mixture"

    def __init__(self, mixture: LowRankMixture, patch: int = 8, stride: int = 2, is_complex: bool = False) -> None:
        if mixture.means.shape[1] != patch**2:
            raise ValueError(
                f"a mixture on {patch} x {patch} patches has d = {patch**2}, got {mixture.means.shape[1]}."
            )
        if not 1 <= stride <= patch:
            raise ValueError(f"stride must be between 1 and the patch size {patch}, got {stride}.")
        if mixture.means.is_complex() and not is_complex:
            raise ValueError("a complex mixture makes a complex prior; pass is_complex=True.")
        super().__init__((1, None, None), is_complex)
        self.mixture, self.patch, self.stride = mixture, patch, stride
        self.history: list[float] = []

    @classmethod
    def fit(
        cls,
        images: Tensor | Sequence[Tensor],
        components: int = 64,
        rank: int = 16,
        patch: int = 8,
        stride: int = 2,
        *,
        patches: int = 50_000,
        iterations: int = 25,
        seed: int = 0,
        progress: bool = False,
    ) -> "PatchMixturePrior":
        """Expectation maximisation on patches drawn at random places and in all eight poses.

        Args:
            images: (N, 1, H, W), or (1, H, W) of several sizes. Complex patches are turned to a random phase, and their
                means are 0.
            patches: how many are drawn; the time grows with it, with components and with iterations.
            progress: show a bar on a terminal.

        The level of a patch stays in it: means and covariances hold the local brightness, so that D is shrunk towards
        the mean of the images when sigma is large.

        Raises:
            ValueError: more than one channel, images smaller than a patch, or too few patches.
        """
        planes = _planes(images, patch)
        generator = Generator().manual_seed(seed)
        x = random_patches(planes, patch, patches, generator)
        is_complex = x.is_complex()
        if is_complex:
            turns = torch.rand(patches, 1, generator=generator, dtype=torch.float32)
            x = x * torch.exp(2j * torch.pi * turns).to(x)
        mixture, history = fit_mixture(
            x,
            components,
            rank,
            iterations=iterations,
            seed=seed,
            zero_mean=is_complex,
            tol=1e-4,
            progress=progress,
        )
        prior = cls(mixture.float(), patch, stride, is_complex)
        prior.history = history
        ranges = [extent(plane) for plane in planes]
        return prior.describe(range=(min(low for low, _ in ranges), max(high for _, high in ranges)))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        out: Tensor = _Denoise.apply(x, level, self)
        return out

    def denoise(self, x: Tensor, level: Tensor) -> Tensor:
        """D without its backward pass."""
        return torch.stack([self._average(x[i, 0], level[i : i + 1]) for i in range(len(x))])

    def _vjp(self, x: Tensor, level: Tensor, v: Tensor) -> Tensor:
        return torch.stack([self._average(x[i, 0], level[i : i + 1], v[i, 0]) for i in range(len(x))])

    def _average(self, x: Tensor, level: Tensor, v: Tensor | None = None) -> Tensor:
        """D(x) for one image (H, W), or J^H v where v is given, (1, H, W)."""
        index, count = patch_grid(*x.shape, self.patch, self.stride, x.device)
        count = count.to(level.dtype)
        flat, out = x.flatten(), torch.zeros_like(x).flatten()
        weighted = None if v is None else v.flatten() / count
        for i in range(0, len(index), _CHUNK):
            rows = index[i : i + _CHUNK]
            if weighted is None:
                part = self.mixture.denoise(flat[rows], level)
            else:
                part = self.mixture.vjp(flat[rows], level, weighted[rows])
            out.index_add_(0, rows.flatten(), part.flatten())
        return (out / count if weighted is None else out).reshape(1, *x.shape)

    def as_complex(self) -> "PatchMixturePrior":
        """The prior of x e^{i phi} for x from this real prior and phi uniform and constant on a patch.

        For a prior of magnitudes, where 0 means no signal. Each component becomes circular with mean 0 and, per real
        component, covariance E[x x^T] / 2 = (C + mu mu^T) / 2; the basis grows by one for mu. A component weighs real
        and imaginary parts together, so that an edge seen in one helps the other: better from medium noise on than
        denoising the parts as two real images, and a little worse at low noise.
        """
        if self.complex:
            return self
        prior = PatchMixturePrior(_circular(self.mixture), self.patch, self.stride, True)
        high = max(abs(self.range[0]), abs(self.range[1]))
        return prior.describe(
            range=(-high, high),
            sigma_min=self.sigma_min,
            sigma_max=self.sigma_max,
            domain=self.domain,
            percentile=self.percentile,
            window=self.window,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Bases in half precision, 0.15 MB by default."""
        m = self.mixture
        full = {"weights": m.weights, "means": as_parts(m.means), "variances": m.variances, "floors": m.floors}
        return {name: t.float() for name, t in full.items()} | {"bases": as_parts(m.bases).half()}

    def scalars(self) -> dict[str, Any]:
        return {"patch": self.patch, "stride": self.stride, "complex": self.complex}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> "PatchMixturePrior":
        """Bases are made orthonormal again after their rounding."""
        weights, means, bases, variances, floors = (tensors[name].float() for name in _TENSORS)
        bases = nearest_orthonormal(from_parts(bases, 3))
        mixture = LowRankMixture(weights / weights.sum(), from_parts(means, 2), bases, variances, floors)
        return cls(mixture, *(scalars[name] for name in ("patch", "stride", "complex")))


_TENSORS = ("weights", "means", "bases", "variances", "floors")


class _Denoise(torch.autograd.Function):
    """D with its Jacobian in closed form, so that no graph over all patches is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, level: Tensor, prior: PatchMixturePrior) -> Tensor:
        ctx.save_for_backward(x, level)
        ctx.prior = prior
        return prior.denoise(x, level)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None]:
        x, level = ctx.saved_tensors
        return ctx.prior._vjp(x, level, v), None, None


def _planes(images: Tensor | Sequence[Tensor], patch: int) -> list[Tensor]:
    """Single-channel images as a list of (H, W)."""
    planes = []
    for image in images:
        check_images(image[None], 1)
        if len(image) != 1 or min(image.shape[1:]) < patch:
            raise ValueError(f"patches of {patch} need images (1, H, W) at least that large, got {tuple(image.shape)}.")
        planes.append(image[0])
    if not planes:
        raise ValueError("a fit needs at least one image.")
    return planes


def _circular(m: LowRankMixture) -> LowRankMixture:
    """Zero means and second moments halved; each mean joins its basis."""
    count, rank, size = m.bases.shape
    bases, variances = (
        m.bases.new_empty(count, rank + 1, size).double(),
        m.variances.new_empty(count, rank + 1).double(),
    )
    for k in range(count):
        basis, mean, floor = m.bases[k].double(), m.means[k].double(), m.floors[k].double()
        span = torch.linalg.qr(torch.cat([basis, mean[None]]).mT)[0]
        inside = span.mT @ basis.mT
        moment = inside * (m.variances[k].double() - floor) @ inside.mT
        moment = (
            moment
            + floor * torch.eye(rank + 1, dtype=floor.dtype, device=floor.device)
            + torch.outer(span.mT @ mean, span.mT @ mean)
        )
        values, vectors = torch.linalg.eigh(moment)
        bases[k], variances[k] = (span @ vectors).mT, values.clamp(min=0.0) / 2
    out = LowRankMixture(
        m.weights, torch.zeros_like(m.means), bases.to(m.bases), variances.to(m.variances), m.floors / 2
    )
    return out
