"""q = d (p * h),   h[0] = 1 / (4 d^2),   h[n] = -1 / (pi n d)^2 for odd n, 0 for even n: the band-limited ramp filter.

The kernel is sampled in space, so that the mean of an image is right; a window W(f) may damp high frequencies
(f in cycles per bin):

    ramp 1,   shepp-logan sin(pi f) / (pi f),   cosine cos(pi f),   hann (1 + cos(2 pi f)) / 2,
    hamming 0.54 + 0.46 cos(2 pi f).

Source: Ramachandran and Lakshminarayanan, Three-Dimensional Reconstruction from Radiographs and Electron Micrographs,
1971; Shepp and Logan, The Fourier Reconstruction of a Head Section, 1974; Kak and Slaney, Principles of Computerized
Tomographic Imaging, 1988, equations 3.61 and 3.168.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from invdiff.checks import nearest, require

WINDOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "ramp": torch.ones_like,
    "shepp-logan": torch.sinc,
    "cosine": lambda f: torch.cos(math.pi * f),
    "hann": lambda f: 0.5 + 0.5 * torch.cos(2 * math.pi * f),
    "hamming": lambda f: 0.54 + 0.46 * torch.cos(2 * math.pi * f),
}


def ramp_kernel(n: int, width: float, curved: bool = False) -> Tensor:
    """h at the distances -(n - 1) .. n - 1 bins of `width`, in the order of an FFT of length 2 n, float64.

    Args:
        n: number of bins.
        width: of a bin: mm, or radians where `curved`.
        curved: for equal angles, h (g / sin g)^2.
    """
    k = torch.arange(-n, n, dtype=torch.float64)
    odd = k.remainder(2) == 1
    h = torch.where(odd, -1 / (math.pi * torch.where(odd, k, 1.0) * width) ** 2, 0.0)
    h[n] = 1 / (4 * width**2)
    if curved:
        g = torch.where(k == 0, 1.0, k * width)
        h = torch.where(k == 0, h, h * (g / g.sin()) ** 2)
    h[0] = 0  # the distance -n, which no pair of bins has
    return h.roll(-n)


def ramp_filter(p: Tensor, width: float, window: str = "ramp", cutoff: float = 1.0, curved: bool = False) -> Tensor:
    """q, of the shape of p (..., bins); p is 0 beyond its ends.

    Args:
        p: line integrals, weighted where the beam is a fan.
        width: of a bin at the axis, mm, or radians where `curved`.
        window: a key of `WINDOWS`.
        cutoff: share of the highest frequency from which on nothing passes, in (0, 1]; the window is squeezed into it.
        curved: bins at equal angles.

    Raises:
        ValueError: no such window, or a cutoff out of range.
    """
    if window not in WINDOWS:
        raise ValueError(f"there is no window {window!r}.{nearest(window, WINDOWS)}")
    require("cutoff", cutoff, above=0, at_most=1)
    n = p.shape[-1]
    f = torch.fft.rfftfreq(2 * n, dtype=torch.float64)
    damping = torch.where(f <= cutoff / 2 + 1e-12, WINDOWS[window](f / cutoff), 0.0)
    response = width * torch.fft.rfft(ramp_kernel(n, width, curved)).real * damping
    spectrum = torch.fft.rfft(p, n=2 * n) * response.to(p)
    return torch.fft.irfft(spectrum, n=2 * n)[..., :n]
