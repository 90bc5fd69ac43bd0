"""D(x; sigma) = W sum_b P_b^T h (mu_b + C_b (C_b + sigma^2 I)^-1 (P_b x - mu_b)): a Wiener filter for each place.

P_b takes block b out of the image, mu_b and C_b are the mean and the covariance of the training images at that place, h
is a Hann window and W divides by the sum of the windows.
"""

from typing import Any

import torch
from torch import Tensor

from invdiff.priors.analytic import AnalyticPrior, check_images, extent
from invdiff.priors.container import as_parts, from_parts
from invdiff.priors.covariance import check_orthonormal, check_variances, nearest_orthonormal
from invdiff.priors.patches import patch_grid
from invdiff.priors.template import Template
from invdiff.shapes import over


class LocalWienerPrior(AnalyticPrior):
    """A Gaussian of its own for each of the overlapping blocks of single-channel images of one size, aligned.

    As good as a patch mixture and many times faster where images lie as the training images did, and harmful where they
    do not: on another organ it is worse than no prior. `recognise` tells; `solve` calls it before the first step.

    D is linear in x, so its Jacobian is exact and the same everywhere; D blends posterior means of blocks, which makes
    it a good denoiser but not the posterior mean of one density over images.

    Args:
        size: (H, W).
        means: (n, d), d = patch^2, of the n blocks of `patch_grid(H, W, patch, stride)`.
        bases: (n, d, d), eigenvectors of the covariances as rows. variances: (n, d), their eigenvalues, per real
            component. Real bases serve complex images as well, whose means are 0.
        template: what aligned means.
        patch: p. stride: between blocks; half of p makes the windows add up evenly.

    Raises:
        ValueError: shapes that do not match, negative variances, bases that are not orthonormal.
    """

    kind = "local-wiener"
    means: Tensor
    bases: Tensor
    variances: Tensor
    taper: Tensor
    total: Tensor

    def __init__(
        self,
        size: tuple[int, int],
        means: Tensor,
        bases: Tensor,
        variances: Tensor,
        template: Template,
        *,
        patch: int = 8,
        stride: int = 4,
        is_complex: bool = False,
    ) -> None:
        super().__init__((1, *size), is_complex)
        self.size, self.patch, self.stride, self.template = size, patch, stride, template
        count, d = len(self._index(means.device)), patch**2
        found = [tuple(t.shape) for t in (means, bases, variances)]
        if found != [(count, d), (count, d, d), (count, d)]:
            raise ValueError(
                f"means, bases, variances must be (n, d), (n, d, d), (n, d) with n = {count}, got {found}."
            )
        check_variances(variances, torch.zeros(()))
        check_orthonormal(bases)
        self.register_buffer("means", means.detach())
        self.register_buffer("bases", bases.detach())
        self.register_buffer("variances", variances.detach())
        self.register_buffer("taper", hann(patch).to(variances))
        self.register_buffer("total", self._sum(torch.ones_like(variances)[None]))

    @classmethod
    def fit(cls, images: Tensor, patch: int = 8, stride: int = 4, shift: int = 2) -> "LocalWienerPrior":
        """Mean and covariance of each block over the images and over shifts of up to `shift` pixels.

        Args:
            images: (N, 1, H, W), all aligned. Complex ones count as circular: their means are 0.

        Raises:
            ValueError: more than one channel, images smaller than a block.
        """
        check_images(images, 2)
        if images.shape[1] != 1:
            raise ValueError(f"a fit takes single-channel images (N, 1, H, W), got {tuple(images.shape)}.")
        size = (images.shape[-2], images.shape[-1])
        corners = patch_grid(*size, patch, stride, torch.device("cpu"))[0][:, 0]
        means = images.new_empty(len(corners), patch**2)
        moments = images.new_empty(len(corners), patch**2, patch**2)
        rows = images.new_empty(len(images) * (2 * shift + 1) ** 2, patch**2)
        for b, corner in enumerate(corners.tolist()):
            _moments(images, divmod(corner, size[1]), patch, shift, rows, means[b], moments[b])
        bases, variances = _eigen(moments)
        prior = cls(
            size,
            means,
            bases,
            variances,
            Template.fit(images),
            patch=patch,
            stride=stride,
            is_complex=rows.is_complex(),
        )
        return prior.describe(range=extent(images))

    def recognise(self, images: Tensor) -> None:
        """Refuse images (B, 1, H, W) that do not lie as the training images did, see `Template.check`."""
        self.template.check(images)

    def as_complex(self) -> "LocalWienerPrior":
        """The prior of x e^{i phi} for x from this real prior and phi uniform: mean 0, C' = (C + mu mu^T) / 2.

        For a prior of magnitudes, where 0 means no signal.
        """
        if self.complex:
            return self
        scaled = self.bases * self.variances.sqrt()[:, :, None]
        moments = (scaled.mT @ scaled + self.means[:, :, None] * self.means[:, None]) / 2
        bases, variances = _eigen(moments)
        prior = LocalWienerPrior(
            self.size,
            torch.zeros_like(self.means),
            bases,
            variances,
            self.template,
            patch=self.patch,
            stride=self.stride,
            is_complex=True,
        )
        high = max(abs(end) for end in self.range)
        return prior.describe(range=(-high, high), domain=self.domain, percentile=self.percentile, window=self.window)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        blocks = x.flatten(1)[:, self._index(x.device)]
        return self._sum(self.means + self._filter(blocks - self.means, level)) / self.total

    def _vjp(self, x: Tensor, level: Tensor, v: Tensor) -> Tensor:
        index = self._index(v.device)
        blocks = self._filter(self.taper * (v / self.total).flatten(1)[:, index], level)
        return torch.zeros_like(v).flatten(1).index_add(1, index.flatten(), blocks.flatten(1)).reshape(v.shape)

    def _filter(self, v: Tensor, level: Tensor) -> Tensor:
        """C (C + level^2)^-1 v for blocks (B, n, d)."""
        if v.is_complex() and not self.bases.is_complex():
            return torch.complex(self._filter(v.real, level), self._filter(v.imag, level))
        z = torch.einsum("bnd,nrd->bnr", v, self.bases.conj())
        gain = self.variances / (self.variances + over(level, z) ** 2)
        return torch.einsum("bnr,nrd->bnd", gain * z, self.bases)

    def _sum(self, blocks: Tensor) -> Tensor:
        """sum_b P_b^T h blocks_b, (B, 1, H, W), for blocks (B, n, d)."""
        out = blocks.new_zeros(len(blocks), self.size[0] * self.size[1])
        windowed = (self.taper * blocks).flatten(1)
        return out.index_add(1, self._index(blocks.device).flatten(), windowed).reshape(-1, 1, *self.size)

    def _index(self, device: torch.device) -> Tensor:
        return patch_grid(*self.size, self.patch, self.stride, device)[0]

    def tensors(self) -> dict[str, Tensor]:
        """Bases in half precision, 8 MB for 128 x 128."""
        full = {"means": as_parts(self.means), "variances": self.variances, "template": self.template.mean}
        halved = {"bases": as_parts(self.bases).half(), "template_precision": self.template.precision}
        return {name: t.float() for name, t in full.items()} | halved

    def scalars(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("size", "patch", "stride", "complex")}
        return {**own, "template_limit": self.template.limit}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> "LocalWienerPrior":
        """Bases are made orthonormal again after their rounding."""
        return cls(
            tuple(scalars["size"]),
            from_parts(tensors["means"], 2),
            nearest_orthonormal(from_parts(tensors["bases"], 3)),
            tensors["variances"],
            Template(tensors["template"], tensors["template_precision"], scalars["template_limit"]),
            patch=scalars["patch"],
            stride=scalars["stride"],
            is_complex=scalars["complex"],
        )


def hann(patch: int) -> Tensor:
    """sin^2(pi (i + 1/2) / p) over rows and columns, (p^2,), positive everywhere; copies at half of p add up to 1."""
    line = torch.sin(torch.pi * (torch.arange(patch, dtype=torch.float64) + 0.5) / patch) ** 2
    return torch.outer(line, line).flatten()


def _moments(
    images: Tensor, corner: tuple[int, int], patch: int, shift: int, rows: Tensor, mean: Tensor, moment: Tensor
) -> None:
    """Mean and covariance of one block, written to `mean` and `moment`.

    `rows` is scratch: small results kept between large temporaries would fragment the memory to many times the need.
    """
    limits = (slice(max(0, at - shift), at + patch + shift) for at in corner)
    top, left = limits
    views = images[:, 0, top, left].unfold(1, patch, 1).unfold(2, patch, 1)
    used = rows[: views.shape[:3].numel()]
    used.view(views.shape).copy_(views)
    if images.is_complex():
        mean.zero_()
        torch.mm(used.mT, used.conj(), out=moment)
        moment /= 2 * len(used)
        return
    torch.mean(used, 0, out=mean)
    used -= mean
    torch.mm(used.mT, used, out=moment)
    moment /= len(used)


def _eigen(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors as rows (n, d, d) and eigenvalues (n, d) of covariances.

    In double precision with a little added, since `eigh` fails on the flat blocks of a background in single precision.
    """
    bases, variances = torch.empty_like(moments), moments.new_empty(moments.shape[:2], dtype=moments.dtype.to_real())
    jitter = 1e-9 * torch.eye(moments.shape[-1], dtype=torch.float64, device=moments.device)
    for b, moment in enumerate(moments):
        wide = moment.to(torch.complex128 if moment.is_complex() else torch.float64)
        values, vectors = torch.linalg.eigh((wide + wide.mH) / 2 + jitter)
        bases[b], variances[b] = vectors.mT, values.clamp(min=0.0)
    return bases, variances
