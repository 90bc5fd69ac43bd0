"""D(x; sigma) = sum_t T_t^H (w_t D_tile(T_t x; sigma)),   sum_t T_t^H w_t = 1: a prior of small images on large ones.

T_t takes tile t out of the image and w_t is its share in each of its pixels.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from invdiff.checks import require
from invdiff.networks.drunet import coordinate
from invdiff.priors.mismatch import Checkable
from invdiff.priors.prior import Prior, fits
from invdiff.random import mix

Shift = Literal["random", "fixed"] | None
_SHIFTS, _PADDINGS = ("random", "fixed", None), ("reflect", "zero")


@dataclass(frozen=True)
class Axis:
    """The tiles along one axis, (tiles, side) each.

    index: the pixel of the image that a tile shows. inside: whether the tile is inside the image there. share: of the
    tile in that pixel, summing to 1 over the tiles; 0 outside. place: coordinate, -1 to 1 inside the image.
    """

    index: Tensor
    inside: Tensor
    share: Tensor
    place: Tensor

    @classmethod
    def of(cls, starts: Tensor, n: int, tile: int, overlap: int, reflect: bool) -> "Axis":
        """Tiles that begin at `starts` on an axis of n pixels."""
        at = starts[:, None] + torch.arange(tile, device=starts.device)
        inside, index = (at >= 0) & (at < n), reflected(at, n)
        window = ramps(tile, overlap).to(starts.device) * inside
        total = torch.zeros(n, dtype=window.dtype, device=at.device).index_put((index,), window, accumulate=True)
        return cls(index, inside, window / total[index], coordinate(index if reflect else at, n))


class TiledPrior(Checkable, nn.Module):
    """`prior` applied to tiles of images of any size.

    Args:
        prior: of images that a tile is one of; called as prior(x, sigma, coordinates) where it has an attribute
            `coordinates` that is true, with the tile's place in the whole image.
        tile: side of the tiles, in pixels.
        overlap: pixels that neighbouring tiles share at least; their shares there rise and fall as sin^2 and cos^2.
            None: a quarter of the tile, or 0 where tiles are moved at random.
        shift: None: tiles are spread over the image evenly, none reaches beyond it, and D is the same at every call.
            "random": a grid of tiles is moved by a new random amount at every call, so that seams do not add up over
            the steps of a solver. "fixed": moved by one random amount, once for all.
        padding: what tiles contain that reach beyond the image: its reflection, or "zero".
        seed: of the shifts; that of call number n depends on seed and n alone.
        batch: tiles that are evaluated at once. Memory is that of so many; where there are more, gradients compute them
            a second time instead of keeping them.

    Units, noise levels, domain and reference statistics are those of `prior`.

    Raises:
        ValueError: tile does not fit the prior, or overlap the tile.

    Source: Hu et al., Learning Image Priors through Patch-based Diffusion Models for Solving Inverse Problems (PaDIS),
        NeurIPS 2024, equation 3 and Algorithm 1: shift="random", padding="zero".
    Differs: outside the image there is its reflection or zero, not a part of the sampled image with noise of its own.
    """

    def __init__(
        self,
        prior: Prior,
        tile: int = 128,
        overlap: int | None = None,
        *,
        shift: Shift = None,
        padding: Literal["reflect", "zero"] = "reflect",
        seed: int = 0,
        batch: int = 16,
    ) -> None:
        super().__init__()
        require("tile", tile, at_least=1)
        overlap = (0 if shift == "random" else tile // 4) if overlap is None else overlap
        require("overlap", overlap, at_least=0, at_most=tile - 1)
        require("batch", batch, at_least=1)
        for name, value, known in (("shift", shift, _SHIFTS), ("padding", padding, _PADDINGS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}.")
        channels = prior.shape[0] if prior.shape else None
        if prior.shape is not None and not fits(prior.shape[1:], (tile, tile)):
            raise ValueError(f"the prior takes images {prior.shape}, which a tile of {tile} x {tile} is not.")
        self.prior, self.tile, self.overlap, self.shift = prior, tile, overlap, shift
        self.padding, self.seed, self.batch, self.calls = padding, seed, batch, 0
        self.shape: tuple[int | None, ...] | None = None if channels is None else (channels, None, None)
        self.range, self.complex, self.domain = prior.range, prior.complex, prior.domain
        self.sigma_min, self.sigma_max = prior.sigma_min, prior.sigma_max
        self.percentile, self.window = prior.percentile, prior.window
        self.reference_statistics = getattr(prior, "reference_statistics", None)

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """E[x0 | x] for x (B, C, H, W) and sigma a number or (B,); same shape and dtype as x.

        Raises:
            ValueError: x is not of the shape that the prior takes.
        """
        if x.ndim != 4 or not fits(self.shape, tuple(x.shape[1:])):
            raise ValueError(f"this prior takes images (B, {self.shape or 'C, H, W'}), got {tuple(x.shape)}.")
        rows, columns = (self._axis(axis, n, x.device) for axis, n in enumerate(x.shape[2:]))
        self.calls += 1
        number = len(x) * len(rows.index) * len(columns.index)
        which = torch.arange(number, device=x.device).split(self.batch)
        out, keep = torch.zeros_like(x).movedim(1, -1), len(which) == 1 or not torch.is_grad_enabled()
        for some in which:
            if keep:
                part, *place = self._denoise(x, sigma, some, rows, columns)
            else:
                part, *place = checkpoint(
                    self._denoise, x, sigma, some, rows, columns, use_reentrant=False, preserve_rng_state=False
                )
            out = out.index_put(tuple(place), part, accumulate=True)
        return out.movedim(-1, 1)

    def _denoise(
        self, x: Tensor, sigma: Tensor | float, which: Tensor, rows: Axis, columns: Axis
    ) -> tuple[Tensor, ...]:
        """The weighted estimates of some tiles of all images, (n, side, side, C), and the pixels they belong to."""
        n_rows, n_columns = len(rows.index), len(columns.index)
        image, r, c = which // (n_rows * n_columns), which // n_columns % n_rows, which % n_columns
        place = (image[:, None, None], rows.index[r][:, :, None], columns.index[c][:, None, :])
        tiles = x.movedim(1, -1)[place].movedim(-1, 1)
        if self.padding == "zero":
            tiles = tiles * (rows.inside[r][:, None, :, None] & columns.inside[c][:, None, None, :])
        level = sigma[image] if isinstance(sigma, Tensor) and sigma.numel() > 1 else sigma
        out = self.prior(tiles, level, *self._place(rows.place[r], columns.place[c]))
        share = rows.share[r][:, :, None] * columns.share[c][:, None, :]
        return (out.movedim(1, -1) * share[..., None].to(out.dtype), *place)

    def _place(self, row: Tensor, column: Tensor) -> tuple[Tensor, ...]:
        """Coordinates of tiles, where the prior wants them."""
        if not getattr(self.prior, "coordinates", False):
            return ()
        shape = (len(row), self.tile, self.tile)
        return (torch.stack([column[:, None, :].expand(shape), row[:, :, None].expand(shape)], 1),)

    def _axis(self, axis: int, n: int, device: torch.device) -> Axis:
        step = self.tile - self.overlap
        if self.shift is None:
            count = max(math.ceil((n - self.overlap) / step), 1)
            starts = torch.linspace(0, n - self.tile, count, dtype=torch.float64).round().long()
            if n < self.tile:
                starts = starts * 0 - (self.tile - n) // 2
        else:
            move = mix(self.seed, self.calls if self.shift == "random" else 0, axis) % step
            starts = torch.arange(-move, max(n - self.overlap, 1), step)
        return Axis.of(starts.to(device), n, self.tile, self.overlap, self.padding == "reflect")


def ramps(tile: int, overlap: int) -> Tensor:
    """1, rising at the beginning as sin^2 and falling at the end as cos^2 over `overlap` pixels, (tile,) float64."""
    rise = (torch.arange(tile, dtype=torch.float64) + 0.5) / max(overlap, 0.5)
    rise = torch.sin(rise.clamp(max=1) * math.pi / 2) ** 2
    return rise * rise.flip(0)


def reflected(index: Tensor, n: int) -> Tensor:
    """Indices of any integer size on the pixels 0 ... n-1 n-2 ... 1 0 1 ... of an axis continued by reflection."""
    period = max(2 * (n - 1), 1)
    index = index % period
    return torch.minimum(index, period - index)
