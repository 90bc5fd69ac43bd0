"""X[k] = 1/sqrt(n) sum_j x[j] exp(-2 pi i (k - c)(j - c) / n),   c = n // 2: the centred orthonormal transform.

Expanding the product gives X = conj(g) p F(p x) with the plain transform F, the linear phase p[j] = exp(2 pi i c j / n)
and the number g = exp(2 pi i c^2 / n): the centring needs no copies, on odd sizes as on even ones (where p is +-1).
"""

import torch
from torch import Tensor


def centred_fft2(x: Tensor) -> Tensor:
    """Centred orthonormal transform over the last two axes, complex; index n // 2 is the zero frequency.

    The plain definition by shifted copies, for data preparation and as a reference.
    """
    shifted = torch.fft.ifftshift(x, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=(-2, -1))


def centred_ifft2(y: Tensor) -> Tensor:
    """Inverse and adjoint of `centred_fft2`."""
    shifted = torch.fft.ifftshift(y, dim=(-2, -1))
    return torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(-2, -1))


def centring_phases(height: int, width: int) -> tuple[Tensor, Tensor]:
    """(p, q), each (H, W) complex128, such that centred_fft2(x) = q fft2(p x) for the plain orthonormal fft2."""
    rows, first = _phase(height)
    columns, second = _phase(width)
    p = rows[:, None] * columns
    return p, p * (first * second).conj()


def _phase(n: int) -> tuple[Tensor, Tensor]:
    """p (n,) and g () of the module's equation; exponents are reduced modulo n as integers: +-1 is exact."""
    c = n // 2
    p = _unit(torch.arange(n) * c, n)
    return p, _unit(torch.tensor(c * c), n)


def _unit(numerator: Tensor, n: int) -> Tensor:
    """exp(2 pi i numerator / n), exact at quarter turns."""
    quarter = (4 * numerator) % (4 * n)
    angle = quarter.double() * (torch.pi / (2 * n))
    value = torch.polar(torch.ones_like(angle), angle)
    for k, exact in enumerate((1, 1j, -1, -1j)):
        value = torch.where(quarter == k * n, torch.tensor(exact, dtype=value.dtype), value)
    return value
