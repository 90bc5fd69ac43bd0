"""x <- P x where P x may be an image, x - beta P x elsewhere: an image from its Fourier amplitudes alone.

P x = F^-1 (y e^(i arg F x)) has the measured amplitudes, and may be an image where it is inside the object's box and no
less than `low`. The last iterations put the nearest such value elsewhere (error reduction).

Coarse to fine: the central frequencies, tapered so that their cut does not ring, are amplitudes of a small image, for
which many random starts are cheap. Those of least misfit are what a grid twice as fine begins with. Random phases at
full size end in mixtures of the image and its twin conj(x(-r)) instead.

Source: Fienup, Phase Retrieval Algorithms: a Comparison, Applied Optics 1982 (hybrid input-output, error reduction).
Differs: from coarse to fine, with several starts.
"""

import math

import torch
from torch import Tensor
from torch.fft import fft2, ifft2, ifftshift, irfft2, rfft2

from invdiff.operators.fourier import centred_fft2, centred_ifft2
from invdiff.random import Noise

COARSEST, MARGIN, POLISH = 16, 2, 50
Size = tuple[int, ...]


def hybrid_input_output(
    y: Tensor,
    box: Tensor,
    noise: Noise,
    *,
    sampled: Tensor | None = None,
    is_complex: bool = False,
    low: Tensor | float = 0.0,
    starts: int = 64,
    iterations: int = 500,
    beta: float = 0.9,
) -> Tensor:
    """An image (B, C, H', W') of the amplitudes y, of the same shape, zero frequency at (H' // 2, W' // 2).

    Args:
        box: where the image may differ from 0, (H', W') bool, a rectangle.
        noise: of the random starts, a stream for each item.
        sampled: frequencies that are measured, broadcastable to y; None for all.
        low: least value of a real image, a number or (B,); -inf where there is none. Complex images have none.
        starts: on the coarsest grid, for each channel. A quarter goes on to the next, half of those to each further.
        iterations: on every grid, before `POLISH` of error reduction. beta: feedback, 0 to 1.
    """
    low = torch.as_tensor(low, dtype=y.dtype, device=y.device).reshape(-1, 1, 1, 1, 1)
    sizes = grids(y.shape[-2:])
    x = _random(y, sizes[0], starts, noise, is_complex)
    for i, size in enumerate(sizes):
        data = Amplitudes(y, sampled, size, is_complex)
        inside = shrunk(box, size)
        x = resampled(x, size)
        for k in range(iterations + POLISH):
            found = data.imposed(x)
            allowed = (found if is_complex else found.clamp(min=low)) * inside
            x = allowed if k >= iterations else torch.where(found == allowed, found, x - beta * (found - allowed))
        keep = 1 if i == len(sizes) - 1 else math.ceil(starts / 2 ** (i + 2))
        x = _least(x, data.misfit(x), keep)
    return x[:, :, 0]


class Amplitudes:
    """y (B, C, H', W') at the central frequencies that a grid of `size` has, for images (B, C, starts, *size).

    Tapered by exp(-2 |k|^2), k in cycles per pixel, but at full size.
    """

    def __init__(self, y: Tensor, sampled: Tensor | None, size: Size, is_complex: bool) -> None:
        self.size, self.is_complex = size, is_complex
        y = y.clamp(min=0)
        if size != tuple(y.shape[-2:]):
            y = central(y, size) * _taper(size, y) * _gain(size, y)
        self.y = self._as_spectrum(y)
        self.sampled = None if sampled is None else self._as_spectrum(central(sampled, size))

    def imposed(self, x: Tensor) -> Tensor:
        """P x."""
        spectrum = self._spectrum(x)
        found = spectrum * (self.y / spectrum.abs().clamp(min=torch.finfo(self.y.dtype).tiny))
        if self.sampled is not None:
            found = torch.where(self.sampled, found, spectrum)
        return ifft2(found, norm="ortho") if self.is_complex else irfft2(found, s=self.size, norm="ortho")

    def misfit(self, x: Tensor) -> Tensor:
        """||F x| - y|, (B, C, starts)."""
        away = self._spectrum(x).abs() - self.y
        return (away if self.sampled is None else away * self.sampled).square().sum((-2, -1)).sqrt()

    def _spectrum(self, x: Tensor) -> Tensor:
        return fft2(x, norm="ortho") if self.is_complex else rfft2(x, norm="ortho")

    def _as_spectrum(self, centred: Tensor) -> Tensor:
        """(..., H', W') as (..., 1, H', W') in the order of `_spectrum`."""
        moved = ifftshift(centred, dim=(-2, -1)).unsqueeze(-3)
        return moved if self.is_complex else moved[..., : self.size[1] // 2 + 1]


def grids(frame: Size) -> list[Size]:
    """Sizes from the coarsest, of which no side is below `COARSEST` where the frame's is not, to the frame's own."""
    halvings = max(0, int(math.log2(max(1, min(frame) / COARSEST))))
    return [tuple(math.ceil(n / 2**j) for n in frame) for j in range(halvings, -1, -1)]


def central(spectrum: Tensor, size: Size) -> Tensor:
    """The frequencies (..., *size) in the middle of (..., H', W'); zeros around it where `size` is larger."""
    before = [f // 2 - n // 2 for f, n in zip(size, spectrum.shape[-2:], strict=True)]
    after = [f - n - b for f, n, b in zip(size, spectrum.shape[-2:], before, strict=True)]
    return torch.nn.functional.pad(spectrum, (before[1], after[1], before[0], after[0]))


def resampled(x: Tensor, size: Size) -> Tensor:
    """x (..., h, w) on another grid over the same frame, centre to centre, by its central frequencies."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    out = _gain(size, x) * centred_ifft2(central(centred_fft2(x), size))
    return out if x.is_complex() else out.real


def shrunk(box: Tensor, size: Size) -> Tensor:
    """The box (H', W') on a coarser grid, `MARGIN` pixels larger on each side, since the taper blurs what is in it."""
    if tuple(box.shape) == tuple(size):
        return box
    inside = torch.zeros(size, dtype=torch.bool, device=box.device)
    spans = []
    for along, n in ((box.any(1), size[0]), (box.any(0), size[1])):
        at, fine = along.nonzero(), len(along)
        first = math.floor((int(at.min()) - fine // 2) * n / fine) + n // 2 - MARGIN
        last = math.ceil((int(at.max()) - fine // 2) * n / fine) + n // 2 + MARGIN
        spans.append(slice(max(first, 0), last + 1))
    inside[spans[0], spans[1]] = True
    return inside


def _random(y: Tensor, size: Size, starts: int, noise: Noise, is_complex: bool) -> Tensor:
    """White images (B, C, starts, *size) of the energy of y; those that are real are positive."""
    blank = torch.zeros(len(y), y.shape[1], starts, *size, dtype=y.dtype.to_complex() if is_complex else y.dtype)
    drawn = noise.like(blank.to(y.device))
    return (drawn if is_complex else drawn.abs()) * y.square().mean((-2, -1))[..., None, None, None].sqrt()


def _gain(size: Size, x: Tensor) -> float:
    """What values keep their size by, where the orthonormal spectrum of x goes to a grid of `size`."""
    return math.sqrt(math.prod(size) / math.prod(x.shape[-2:]))


def _taper(size: Size, like: Tensor) -> Tensor:
    rows, columns = ((torch.arange(n, device=like.device, dtype=like.dtype) - n // 2) / n for n in size)
    return torch.exp(-2 * (rows[:, None] ** 2 + columns**2))


def _least(x: Tensor, misfit: Tensor, count: int) -> Tensor:
    """The `count` of least misfit, in its order."""
    index = misfit.argsort(-1)[..., :count, None, None]
    return x.gather(2, index.expand(-1, -1, -1, *x.shape[-2:]))
