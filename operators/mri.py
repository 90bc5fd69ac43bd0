"""y = m F (s_c x): Cartesian MRI with coil maps s_c, the centred orthonormal Fourier transform F and a mask m.

With centred_fft2(x) = q fft2(p x) (see `fourier`) the linear phase p is folded into the maps and q into the mask at
construction, so that no pass copies a shifted array, and in the normal operator q drops out:

    A^H A x = sum_c conj(p s_c) F0^H m F0 (p s_c x),   F0 the plain transform.

Where m varies along one axis only, the transforms along the other axis cancel, and F0 runs along that one axis.

Where kernels are fused (on CUDA), F0 goes without its scale, which there is a pass of its own: the mask carries it.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fft import fftn, ifftn

from invdiff.operators.base import LinearOperator
from invdiff.operators.calibration import calibration_window, edge_noise
from invdiff.operators.coil_maps import checked_maps, items, seen_pixels, tiles
from invdiff.operators.fourier import centred_fft2, centred_ifft2, centring_phases
from invdiff.operators.kernels.sense import combine, expand, fused
from invdiff.operators.linear_map import linear_map
from invdiff.operators.mask import binary_mask, sampling_mask
from invdiff.operators.svd import SVD
from invdiff.shapes import Shape, check_shape, over

LOOP_BYTES = 4 << 20  # a coil stack above this is worked through coil by coil on a CPU, so that it stays in its cache


class CartesianMRI(LinearOperator):
    """Images (B, 1, H, W) complex to k-space (B, coil, H, W) complex, full size with zeros where not sampled.

    Args:
        mask: (W,), (H, W), (B, H, W) or (B, 1, H, W), bool or 0/1, 1 = sampled, zero frequency at (H // 2, W // 2).
        maps: coil sensitivities (coil, H, W), (1, coil, H, W) or (B, coil, H, W), complex; None is one coil of
            constant sensitivity. They are kept in complex64. Pixels where all maps are zero cannot be seen: they end
            at zero in `adjoint`, `pinv` and `reference_image`.
        shape: (H, W) or (1, H, W) of the image, needed only for a mask (W,) without maps.

    With a batch axis above one in mask or maps the operator fits that batch only.

    Raises:
        TypeError: maps that are not complex.
        ValueError: sizes that disagree; a mask with values other than 0 and 1 or with nothing sampled; maps that are
            zero everywhere or not finite.

    Example:
        >>> op = CartesianMRI([True, False, True, True], shape=(6, 4))
        >>> op(torch.ones(2, 1, 6, 4, dtype=torch.complex64)).shape
        torch.Size([2, 1, 6, 4])

    Source: Pruessmann et al., SENSE: Sensitivity Encoding for Fast MRI, 1999, for the model with coil maps.
    """

    family = "mri"
    sampled: Tensor
    phased_maps: Tensor
    phased_mask: Tensor
    reduced_mask: Tensor

    def __init__(self, mask: Any, maps: Any = None, shape: Shape | None = None) -> None:
        maps = None if maps is None else checked_maps(maps, "CartesianMRI")
        mask = binary_mask(mask, "CartesianMRI")
        mask = mask[:, None] if mask.ndim == 3 else mask
        image = _image_shape(mask, maps, shape)
        coils = 1 if maps is None else maps.shape[1]
        super().__init__(image, (coils, *image[1:]), complex_in=True)
        self.sampled = sampling_mask(mask, image, "CartesianMRI")
        self.batch = len(self.sampled) if maps is None else max(len(self.sampled), len(maps))
        if maps is not None and {len(self.sampled), len(maps)} - {1, self.batch}:
            raise ValueError(
                f"CartesianMRI: the mask is for {len(self.sampled)} items and the maps for {len(maps)}. "
                "Give both the same batch axis, or one of them none."
            )
        self.single = maps is None
        if maps is not None:
            self.support = seen_pixels(maps)
        self._fold(self.sampled, maps)

    def _fold(self, mask: Tensor, maps: Tensor | None) -> None:
        p, q = (phase.to(torch.complex64).to(mask.device) for phase in centring_phases(*self.shape_in[1:]))
        weight, self.axes = _varying(mask)
        self.register_buffer("phased_maps", p[None, None] if maps is None else maps.to(p) * p, persistent=False)
        self.register_buffer("phased_mask", mask * q, persistent=False)  # (B or 1, 1, H, W)
        # Complex, since torch would convert a real factor at each use.
        self.register_buffer("reduced_mask", weight.to(p), persistent=False)

    def _tiles(self, batch: int) -> Iterator[tuple[slice, slice]]:
        """Slices (items, coils) whose coil stacks are small, or one slice of everything."""
        image_bytes = self.phased_maps[0, 0].numel() * self.phased_maps.element_size()
        return tiles(batch, self.shape_out[0], image_bytes, LOOP_BYTES, self.phased_maps.device)

    def forward(self, x: Tensor) -> Tensor:
        return linear_map(x, self._expand, self._combine)

    def _adjoint(self, y: Tensor) -> Tensor:
        return linear_map(y, self._combine, self._expand)

    def normal(self, x: Tensor) -> Tensor:
        check_shape(f"the normal operator of {self.name}", x, self.shape_in)
        self._check_kind("x", x, self.complex_in)
        self._check_batch(x)
        return linear_map(x, self._filter, self._filter)

    def _expand(self, x: Tensor) -> Tensor:
        if fused(x.device):
            k = fftn(expand(x, self.phased_maps), dim=(-2, -1))
            return k.mul_(self.phased_mask / math.sqrt(math.prod(self.shape_in)))
        y = torch.empty((len(x), *self.shape_out), dtype=self._result(x), device=x.device)
        for b, c in self._tiles(len(x)):
            k = fftn(items(self.phased_maps, b)[:, c] * x[b], dim=(-2, -1), norm="ortho")
            torch.mul(k, items(self.phased_mask, b), out=y[b, c])
        return y

    def _combine(self, y: Tensor) -> Tensor:
        """Unless fused, computed as the conjugate, F0^H u = conj(F0 conj(u)): no conjugate copy of the maps."""
        if fused(y.device):
            k = y * (self.phased_mask.conj() / math.sqrt(math.prod(self.shape_in)))
            return combine(ifftn(k, dim=(-2, -1), norm="forward"), self.phased_maps)
        x = self._zeros(y)
        for b, c in self._tiles(len(y)):
            k = y[b, c].conj_physical().mul_(items(self.phased_mask, b))
            _add_coils(x[b], items(self.phased_maps, b)[:, c], fftn(k, dim=(-2, -1), norm="ortho"))
        return x.conj_physical_()

    def _filter(self, x: Tensor) -> Tensor:
        if fused(x.device):
            return self._fused_filter(x)
        out = self._zeros(x)
        for b, c in self._tiles(len(x)):
            maps = items(self.phased_maps, b)[:, c]
            k = self._transform(maps * x[b]).mul_(items(self.reduced_mask, b)).conj_physical_()
            _add_coils(out[b], maps, self._transform(k))
        return out.conj_physical_()

    def _fused_filter(self, x: Tensor) -> Tensor:
        z = expand(x, self.phased_maps)
        if self.axes:
            points = math.prod(x.shape[axis] for axis in self.axes)
            z = ifftn(fftn(z, dim=self.axes).mul_(self.reduced_mask / points), dim=self.axes, norm="forward")
        return combine(z, self.phased_maps)

    def _transform(self, x: Tensor) -> Tensor:
        return fftn(x, dim=self.axes, norm="ortho") if self.axes else x

    def _zeros(self, like: Tensor) -> Tensor:
        return torch.zeros((len(like), *self.shape_in), dtype=self._result(like), device=like.device)

    def _result(self, x: Tensor) -> torch.dtype:
        return torch.promote_types(x.dtype, self.phased_maps.dtype)

    def norm(self) -> float:
        """1 without maps; power iteration with them."""
        return 1.0 if self.single else super().norm()

    def pinv(self, y: Tensor, iterations: int = 50) -> Tensor:
        """The adjoint without maps, where A A^H is the mask; conjugate gradients with them."""
        return self.adjoint(y) if self.single else super().pinv(y, iterations)

    def _closed_prox(self, z: Tensor, y: Tensor, rho: Tensor) -> Tensor | None:
        """z + A^H (y - A z) / (1 + rho) without maps; conjugate gradients with them."""
        if not self.single:
            return None
        return z + self.adjoint(y - self(z)) / (1 + rho)

    def svd(self, is_complex: bool) -> SVD | None:
        """Without maps: V^H the centred Fourier transform, s the mask."""
        if not self.single:
            return None
        return SVD(self.sampled.float(), centred_fft2, centred_ifft2, lambda y: torch.where(self.sampled, y, 0))

    def reference_image(self, y: Tensor) -> Tensor:
        """Low-resolution image from the fully sampled region around the centre of k-space, (B, 1, H, W).

        The region is found in the mask and windowed smoothly; coils are combined by sum conj(s) z / sum |s|^2, zero
        where no coil sees. Items whose mask has no such region get a few conjugate-gradient steps instead.
        """
        windows = [calibration_window(mask) for mask in self.sampled[:, 0]]
        found = torch.tensor([w is not None for w in windows], device=y.device)
        none = torch.zeros(self.shape_in[1:], dtype=torch.float32, device=y.device)
        stacked = torch.stack([none if w is None else w for w in windows])
        power = (self.phased_maps.abs() ** 2).sum(1, keepdim=True)
        image = torch.where(power > 0, self.adjoint(y * stacked[:, None]) / power, 0)
        return image if bool(found.all()) else torch.where(over(found, y), image, super().reference_image(y))

    def estimate_sigma(self, y: Tensor) -> Tensor:
        """Noise standard deviation per real component, (B,), from the outermost sampled k-space of all coils.

        Robust (median absolute value), so sparse signal does not disturb it; see `calibration.edge_noise`.
        """
        check_shape(f"{self.name}: y", y, self.shape_out)
        masks = self.sampled[:, 0].expand(len(y), -1, -1)
        return torch.stack([edge_noise(item, mask) for item, mask in zip(y.detach(), masks, strict=True)])


def _add_coils(out: Tensor, maps: Tensor, images: Tensor) -> None:
    """out += sum_c maps_c images_c, images being overwritten."""
    if images.shape[1] == 1:
        out.addcmul_(maps, images)
    else:
        out.add_(images.mul_(maps).sum(1, keepdim=True))


def _varying(mask: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The mask without the axes along which it is constant, and the other axes."""
    axes = []
    for axis in (-2, -1):
        first = mask.narrow(axis, 0, 1)
        if bool((mask == first).all()):
            mask = first
        else:
            axes.append(axis)
    return mask, tuple(axes)


def _image_shape(mask: Tensor, maps: Tensor | None, shape: Shape | None) -> Shape:
    """(1, H, W) from shape, maps or mask, in this order, the former two agreeing."""
    if shape is not None and (len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1)):
        raise ValueError(f"CartesianMRI: shape must be (H, W) or (1, H, W), got {tuple(shape)}.")
    if shape is not None and maps is not None and tuple(shape[-2:]) != tuple(maps.shape[-2:]):
        raise ValueError(f"CartesianMRI: maps are {tuple(maps.shape[-2:])} and shape says {tuple(shape[-2:])}.")
    if shape is None and maps is None and mask.ndim < 2:
        raise ValueError(f"CartesianMRI: a mask {tuple(mask.shape)} without maps needs shape=(H, W) of the image.")
    sizes = shape if shape is not None else maps.shape if maps is not None else mask.shape
    return (1, *(int(n) for n in sizes[-2:]))
