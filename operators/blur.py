"""y[i] = sum_j k[j] x[i + c - j],   c = size // 2: convolution with a kernel whose centre is entry c.

A delta becomes the kernel, in its own orientation. All paddings run as one product in Fourier space,

    y = crop F^-1 K F pad x,   A^H y = pad^T F^-1 conj(K) F crop^T y.
"""

from typing import Any, Literal

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.fft import fft2, ifft2, irfft2, rfft2
from torch.nn.functional import pad

from invdiff.operators.base import LinearOperator
from invdiff.operators.linear_map import linear_map
from invdiff.operators.psf import gaussian_kernel, motion_kernel
from invdiff.operators.svd import SVD
from invdiff.shapes import Shape, check_shape

Padding = Literal["circular", "reflect", "valid"]
RCOND = 1e-4  # pinv: Fourier gains below this part of the largest count as zero


class Blur(LinearOperator):
    """Convolution of every channel with one kernel; images real or complex, (B, C, H, W).

    Args:
        kernel: (h, w), real, any sizes, odd or even; used as it is, not normalised.
        shape: (C, H, W) of the images.
        padding: how the image continues past its border.
            "circular": periodically; kernels larger than the image wrap around. `normal`, `prox` and `pinv` are closed.
            "reflect": mirrored about the border pixels, which are not repeated.
            "valid": not at all; y is the part that needs no continuation, (C, H - h + 1, W - w + 1).

    Raises:
        TypeError: a complex kernel.
        ValueError: a kernel that is not (h, w), not finite or zero everywhere; an unknown padding; a kernel too large
            for it.

    Example:
        >>> op = Blur(torch.ones(3, 3) / 9, (1, 8, 8))
        >>> round(float(op(torch.ones(1, 1, 8, 8)).mean()), 6)
        1.0
    """

    family = "blur"
    spectrum: Tensor

    def __init__(self, kernel: Any, shape: Shape, padding: Padding = "circular") -> None:
        kernel = _checked_kernel(kernel, shape, padding, type(self).__name__)
        (height, width), (h, w) = shape[1:], kernel.shape
        out = (height - h + 1, width - w + 1) if padding == "valid" else (height, width)
        super().__init__(shape, (shape[0], *out))
        self.padding = padding
        self.before, self.after = (h - 1 - h // 2, w - 1 - w // 2), (h // 2, w // 2)
        self.grid, origin = (height, width), (h // 2, w // 2)
        if padding != "circular":
            extra = (h - 1, w - 1) if padding == "reflect" else (0, 0)
            self.grid, origin = (next_fast_len(height + extra[0], True), next_fast_len(width + extra[1], True)), (0, 0)
        self.offset = (0, 0) if padding == "circular" else (h - 1, w - 1)
        spectrum = rfft2(_wrapped(kernel, self.grid, origin))
        self.register_buffer("spectrum", spectrum.to(torch.complex64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return linear_map(x, self._blur, self._transpose)

    def _adjoint(self, y: Tensor) -> Tensor:
        return linear_map(y, self._transpose, self._blur)

    def _blur(self, x: Tensor) -> Tensor:
        if x.is_complex():
            return torch.complex(self._blur(x.real), self._blur(x.imag))
        if self.padding == "reflect":
            (top, left), (bottom, right) = self.before, self.after
            x = pad(x, (left, right, top, bottom), mode="reflect")
        y = irfft2(rfft2(x, s=self.grid).mul_(self.spectrum), s=self.grid)
        (i, j), (height, width) = self.offset, self.shape_out[1:]
        return y if self.padding == "circular" else y[..., i : i + height, j : j + width].contiguous()

    def _transpose(self, y: Tensor) -> Tensor:
        if y.is_complex():
            return torch.complex(self._transpose(y.real), self._transpose(y.imag))
        (i, j), (height, width) = self.offset, self.shape_out[1:]
        bottom, right = self.grid[0] - height - i, self.grid[1] - width - j
        y = pad(y, (j, right, i, bottom))
        x = irfft2(rfft2(y).mul_(self.spectrum.conj()), s=self.grid)
        if self.padding == "valid":
            return x[..., : self.shape_in[1], : self.shape_in[2]].contiguous()
        if self.padding == "reflect":
            x = _unreflect(x, -2, self.before[0], self.shape_in[1], self.after[0])
            return _unreflect(x, -1, self.before[1], self.shape_in[2], self.after[1])
        return x

    def _gain(self, x: Tensor, gain: Tensor) -> Tensor:
        """F^-1 g F x for a real, even gain g."""
        if x.is_complex():
            return torch.complex(self._gain(x.real, gain), self._gain(x.imag, gain))
        return irfft2(rfft2(x) * gain, s=self.grid)

    def normal(self, x: Tensor) -> Tensor:
        if self.padding != "circular":
            return super().normal(x)
        check_shape(f"the normal operator of {self.name}", x, self.shape_in)
        return self._gain(x, self.spectrum.abs() ** 2)

    def norm(self) -> float:
        """max |K| where circular; power iteration otherwise."""
        return float(self.spectrum.abs().max()) if self.padding == "circular" else super().norm()

    def pinv(self, y: Tensor, iterations: int = 50) -> Tensor:
        """Inverse filter where circular, gains below 1e-4 of the largest counting as zero; else conjugate gradients."""
        if self.padding != "circular":
            return super().pinv(y, iterations)
        power = self.spectrum.abs() ** 2
        return self._gain(self.adjoint(y), torch.where(power > RCOND**2 * power.max(), 1 / power, 0))

    def _closed_prox(self, z: Tensor, y: Tensor, rho: Tensor) -> Tensor | None:
        """(conj(K) Y + rho Z) / (|K|^2 + rho) in Fourier space where circular; conjugate gradients otherwise."""
        if self.padding != "circular":
            return None
        return self._gain(self.adjoint(y) + rho * z, 1 / (self.spectrum.abs() ** 2 + rho))

    def svd(self, is_complex: bool) -> SVD | None:
        """Where circular: V^H the orthonormal Fourier transform, s = |K|, U^H its product with conj(K) / |K|."""
        if self.padding != "circular":
            return None
        gain = fft2(irfft2(self.spectrum, s=self.grid))

        def image(c: Tensor) -> Tensor:
            x = ifft2(c, norm="ortho")
            return x if is_complex else x.real

        return SVD(
            gain.abs()[None, None],
            lambda x: fft2(x, norm="ortho"),
            image,
            lambda y: torch.sgn(gain).conj() * fft2(y, norm="ortho"),
        )


class GaussianBlur(Blur):
    """Blur by a Gaussian that sums to one.

    Args:
        sigma: standard deviation in pixels.
        shape: (C, H, W).
        size: pixels on a side of the kernel; 61 holds all of a Gaussian up to sigma = 10.
        padding: see `Blur`.

    Raises:
        ValueError: see `Blur`; also sigma or size not positive.
    """

    def __init__(self, sigma: float, shape: Shape, size: int = 61, padding: Padding = "circular") -> None:
        super().__init__(gaussian_kernel(sigma, size), shape, padding)


class MotionBlur(Blur):
    """Blur along a random smooth trajectory, fixed by its seed at construction; the kernel sums to one.

    Args:
        shape: (C, H, W).
        size: pixels on a side of the kernel.
        intensity: 0 a straight motion, 1 many turns.
        seed: of the trajectory.
        padding: see `Blur`.

    Raises:
        ValueError: see `Blur`; also intensity outside [0, 1].
    """

    def __init__(
        self, shape: Shape, size: int = 61, intensity: float = 0.5, seed: int = 0, padding: Padding = "circular"
    ) -> None:
        super().__init__(motion_kernel(size, intensity, seed), shape, padding)


def _wrapped(kernel: Tensor, grid: tuple[int, int], origin: tuple[int, int]) -> Tensor:
    """The kernel on the grid with `origin` at index (0, 0), entries past the border wrapped and added."""
    rows, columns = ((torch.arange(n) - c) % size for n, c, size in zip(kernel.shape, origin, grid, strict=True))
    out = torch.zeros(grid, dtype=kernel.dtype)
    return out.index_put_((rows[:, None], columns[None]), kernel, accumulate=True)


def _unreflect(x: Tensor, axis: int, before: int, n: int, after: int) -> Tensor:
    """Transpose of reflection along one axis: the margins are folded back about the border samples."""
    out = x.narrow(axis, before, n).clone()
    out.narrow(axis, 1, before).add_(x.narrow(axis, 0, before).flip(axis))
    out.narrow(axis, n - 1 - after, after).add_(x.narrow(axis, before + n, after).flip(axis))
    return out


def _checked_kernel(kernel: Any, shape: Shape, padding: str, owner: str) -> Tensor:
    kernel = torch.as_tensor(kernel)
    if kernel.is_complex():
        raise TypeError(f"{owner}: the kernel must be real, got {kernel.dtype}.")
    if len(shape) != 3:
        raise ValueError(f"{owner}: shape must be (C, H, W), got {tuple(shape)}.")
    if kernel.ndim != 2 or kernel.numel() == 0:
        raise ValueError(f"{owner}: the kernel must be (h, w), got {tuple(kernel.shape)}.")
    if not bool(torch.isfinite(kernel).all()) or not bool(kernel.any()):
        raise ValueError(f"{owner}: the kernel must be finite and not zero everywhere.")
    if padding not in ("circular", "reflect", "valid"):
        raise ValueError(f"{owner}: padding must be 'circular', 'reflect' or 'valid', got {padding!r}.")
    largest = tuple(2 * n - 1 if padding == "reflect" else n for n in shape[1:])
    if padding != "circular" and (kernel.shape[0] > largest[0] or kernel.shape[1] > largest[1]):
        raise ValueError(
            f"{owner}: with padding {padding!r} images {tuple(shape)} take kernels up to {largest}, got "
            f"{tuple(kernel.shape)}. Crop the kernel, or use padding='circular'."
        )
    return kernel.double()
