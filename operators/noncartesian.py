"""y_cj = 1/sqrt(N) sum_n s_c[n] x[n] exp(-2 pi i k_j (n - n_0) / N),   n_0 = N // 2: MRI at any positions in k-space.

Radial, spiral or other scans with coil maps s_c; N is the number of pixels. On the points of the Cartesian grid this is
`CartesianMRI`. A^H A is a convolution, computed without gridding (see `toeplitz`).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.base import LinearOperator
from invdiff.operators.calibration import bell, calibration_extent, outermost_noise
from invdiff.operators.coil_maps import checked_maps, items, seen_pixels, tiles
from invdiff.operators.density import pipe_menon
from invdiff.operators.kernels.sense import combine, expand, fused
from invdiff.operators.linear_map import linear_map
from invdiff.operators.nufft import Accuracy, make_nufft
from invdiff.operators.toeplitz import apply_toeplitz, toeplitz_kernel
from invdiff.operators.trajectory import checked_trajectory, occupied_cells
from invdiff.shapes import Shape, check_shape, over

LOOP_BYTES = 4 << 20  # padded coil images above this are worked one by one on a CPU


class NonCartesianMRI(LinearOperator):
    """Images (B, 1, H, W) complex to samples (B, coil, n_samples); in three dimensions images (B, 1, D, H, W).

    `normal` is exact to rounding, A and its adjoint to the chosen accuracy; `normal_error` bounds how far A^H A by the
    one and by the other may differ.

    Args:
        trajectory: (n_samples, d) or (B, n_samples, d), cycles per field of view in [-N/2, N/2), axis 0 along rows (in
            three dimensions along slices). Read-outs are flattened: trajectory.reshape(-1, 2).
        maps: coil sensitivities (coil, H, W), (1, coil, H, W) or (B, coil, H, W), complex; None is one coil of
            constant sensitivity. Pixels where all maps are zero cannot be seen.
        shape: (H, W) or (1, H, W) of the image; only needed without maps. (D, H, W) or (1, D, H, W) for d = 3.
        density: area of k-space of each sample, (n_samples,) or (B, n_samples), for `gridding`, `weighted_normal` and
            `reference_image`; A does not contain it. None: `pipe_menon`, when first needed.
        accuracy: "default" (errors of 4e-4), "high" (1e-5), or a tolerance from 1e-12 to 0.1 for finufft, which also
            computes all of three dimensions.

    With a batch axis above one in trajectory or maps the operator fits that batch only.

    Raises:
        ImportError: finufft is needed and not installed.
        TypeError: maps that are not complex; a complex trajectory.
        ValueError: sizes that disagree; positions that are not finite, out of range or in other units; maps that are
            zero everywhere or not finite; density that is negative or not finite.

    Example:
        >>> op = NonCartesianMRI([[0.0, 0.0], [1.5, -2.0]], shape=(6, 5))
        >>> op(torch.ones(2, 1, 6, 5, dtype=torch.complex64)).shape
        torch.Size([2, 1, 2])

    Source: Pruessmann et al., Advances in Sensitivity Encoding with Arbitrary k-Space Trajectories, 2001.
    """

    maps: Tensor
    density: Tensor | None

    def __init__(
        self,
        trajectory: Any,
        maps: Any = None,
        shape: Shape | None = None,
        density: Any = None,
        accuracy: Accuracy = "default",
    ) -> None:
        d = 3 if torch.as_tensor(trajectory).shape[-1:] == (3,) else 2
        maps = None if maps is None else checked_maps(maps, "NonCartesianMRI", ", ".join("DHW"[-d:]))
        sizes = _image_sizes(d, maps, shape)
        k = checked_trajectory(trajectory, sizes, "NonCartesianMRI")
        coils = 1 if maps is None else maps.shape[1]
        super().__init__((1, *sizes), (coils, k.shape[1]), complex_in=True)
        self.batch = len(k) if maps is None else max(len(k), len(maps))
        if maps is not None and {len(k), len(maps)} - {1, self.batch}:
            raise ValueError(
                f"NonCartesianMRI: the trajectory is for {len(k)} items and the maps for {len(maps)}. Give both the "
                f"same batch axis, or one of them none; read-outs are flattened by trajectory.reshape(-1, {d})."
            )
        if maps is not None:
            self.support = seen_pixels(maps)
        constant = torch.ones(1, 1, *[1] * d, dtype=torch.complex64)
        self.register_buffer("maps", constant if maps is None else maps.to(torch.complex64), persistent=False)
        self.register_buffer("density", _checked_density(density, k, self.maps.device), persistent=False)
        self.trajectory = k  # in double precision on the CPU, wherever the operator is
        self.nufft = make_nufft(k, sizes, coils, accuracy).to(self.maps.device)
        self.normal_error = max(3 * self.nufft.error, 1e-5)
        self.kernels: dict[tuple[object, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return linear_map(x, self._sample, self._spread)

    def _adjoint(self, y: Tensor) -> Tensor:
        return linear_map(y, self._spread, self._sample)

    def _sample(self, x: Tensor) -> Tensor:
        return self.nufft(expand(x, self.maps))

    def _spread(self, y: Tensor) -> Tensor:
        return combine(self.nufft.adjoint(y), self.maps)

    def normal(self, x: Tensor) -> Tensor:
        """A^H A x as a convolution between the maps: no sample is gridded."""
        return self._convolved(x, None)

    def weighted_normal(self, x: Tensor) -> Tensor:
        """A^H W A x with the density weights W."""
        return self._convolved(x, self._weights())

    def gridding(self, y: Tensor) -> Tensor:
        """A^H W y: the density-compensated image, coils weighted by their maps; not the adjoint."""
        return self.adjoint(y * self._weights()[:, None])

    def reference_image(self, y: Tensor) -> Tensor:
        """Low-resolution image from the densely sampled region around the centre of k-space, (B, 1, H, W).

        The region is the largest centred rectangle of which every cell of the Cartesian grid has a sample; its samples
        are windowed smoothly and gridded, and coils combined by sum conj(s) z / sum |s|^2, zero where no coil sees.
        Items without such a region, and three dimensions, get a few conjugate-gradient steps instead.
        """
        windows, found = self._calibration()
        if not bool(found.any()):
            return super().reference_image(y)
        power = (self.maps.abs() ** 2).sum(1, keepdim=True)
        image = torch.where(power > 0, self.gridding(y * windows.to(power)[:, None]) / power, 0)
        found = found.to(y.device)
        return image if bool(found.all()) else torch.where(over(found, image), image, super().reference_image(y))

    def estimate_sigma(self, y: Tensor) -> Tensor:
        """Noise standard deviation per real component, (B,), from the outermost samples of all coils.

        Robust (median absolute value), so sparse signal does not disturb it; see `calibration.outermost_noise`.
        """
        check_shape(f"{self.name}: y", y, self.shape_out)
        distance = (self.trajectory / torch.tensor(self.shape_in[1:])).square().sum(-1).to(y.device)
        pairs = zip(y.detach(), distance.expand(len(y), -1), strict=True)
        return torch.stack([outermost_noise(item, d) for item, d in pairs])

    def _calibration(self) -> tuple[Tensor, Tensor]:
        """Windows over the densely sampled region, (G, n), and whether there is one, (G,) bool."""
        k, sizes = self.trajectory, self.shape_in[1:]
        extents = [calibration_extent(cells) if len(sizes) == 2 else None for cells in occupied_cells(k, sizes)]
        windows = torch.zeros(k.shape[:2], dtype=torch.float64)
        for window, item, extent in zip(windows, k.abs(), extents, strict=True):
            if extent is not None:
                window += bell(item[:, 0], extent[0]) * bell(item[:, 1], extent[1])
        return windows, torch.tensor([extent is not None for extent in extents])

    def _weights(self) -> Tensor:
        """The density weights, (B or 1, n)."""
        if self.density is None:
            self.density = pipe_menon(self.trajectory, self.shape_in[1:]).to(self.maps.real)
        return self.density

    def _convolved(self, x: Tensor, weights: Tensor | None) -> Tensor:
        check_shape(f"the normal operator of {self.name}", x, self.shape_in)
        self._check_kind("x", x, self.complex_in)
        self._check_batch(x)
        apply = partial(self._convolve, self._kernel(weights, x))
        return linear_map(x, apply, apply)

    def _kernel(self, weights: Tensor | None, x: Tensor) -> Tensor:
        """The convolution's kernel at x's device and precision, kept once computed."""
        key = (weights is None, x.device, x.dtype)
        if key not in self.kernels:
            kernel = toeplitz_kernel(self.trajectory, self.shape_in[1:], weights)
            self.kernels[key] = kernel.to(x.device, x.dtype.to_real())
        return self.kernels[key]

    def _convolve(self, kernel: Tensor, x: Tensor) -> Tensor:
        if fused(x.device):
            padded = expand(x, self.maps, kernel.shape[1:])
            return combine(apply_toeplitz(padded, kernel[:, None]), self.maps, self.shape_in[1:])
        out = torch.zeros_like(x)
        image_bytes = kernel[0].numel() * x.element_size()
        for b, c in tiles(len(x), self.shape_out[0], image_bytes, LOOP_BYTES, x.device):
            maps = items(self.maps, b)[:, c]
            z = apply_toeplitz(maps * x[b], items(kernel, b)[:, None])
            out[b] += (maps.conj() * z).sum(1, keepdim=True)
        return out


def _image_sizes(d: int, maps: Tensor | None, shape: Shape | None) -> Shape:
    """The d image sizes from shape or maps, which must agree."""
    axes = ", ".join("DHW"[-d:])
    if shape is None and maps is None:
        raise ValueError(f"NonCartesianMRI: without maps, shape=({axes}) of the image is needed.")
    if shape is not None and len(shape) != d and (len(shape) != d + 1 or shape[0] != 1):
        raise ValueError(
            f"NonCartesianMRI: shape must be ({axes}) or (1, {axes}) for a trajectory of {d} axes, got {tuple(shape)}."
        )
    if shape is not None and maps is not None and tuple(shape[-d:]) != tuple(maps.shape[-d:]):
        raise ValueError(f"NonCartesianMRI: maps are {tuple(maps.shape[-d:])} and shape says {tuple(shape[-d:])}.")
    sizes = shape if shape is not None else maps.shape if maps is not None else ()
    return tuple(int(n) for n in sizes[-d:])


def _checked_density(density: Any, k: Tensor, device: torch.device) -> Tensor | None:
    """Weights as float32 (G or 1, n), finite and not negative."""
    if density is None:
        return None
    w = torch.as_tensor(density, dtype=torch.float32, device=device)
    w = w[None] if w.ndim == 1 else w
    if w.ndim != 2 or w.shape[1] != k.shape[1] or len(w) not in (1, len(k)):
        raise ValueError(
            f"NonCartesianMRI: density must have one weight per sample, ({k.shape[1]},), got {tuple(w.shape)}."
        )
    wrong = int((~(torch.isfinite(w) & (w >= 0))).sum())
    if wrong:
        raise ValueError(f"NonCartesianMRI: {wrong} of the density weights are negative or not finite.")
    return w
