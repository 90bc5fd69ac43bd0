"""G(r) s(r) = s(r): coil sensitivities from calibration lines (ESPIRiT), and simulated ones.

Maps are (coil, h, w) complex64 with sum over coils |s|^2 = 1 where they are defined and 0 elsewhere.
Maps by division of images are in `invdiff.data.coil_ratios`.
"""

import math

import torch
from torch import Generator, Tensor

from invdiff.data.masks import calibration_region
from invdiff.random import mix


def espirit(
    kspace: Tensor,
    mask: Tensor | None = None,
    *,
    lost: Tensor | None = None,
    width: int | tuple[int, int] = 24,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.9,
) -> Tensor:
    """One set of ESPIRiT maps of a slice.

        X = all kernel-sized patches of the calibration block, one per column;   X X^H = V diag(s^2) V^H
        P = V_> V_>^H with s > threshold s_max;   G(r) = 1/k^2 sum_ab P[a, b] exp(2 pi i (a - b) r / N)
        s(r) = eigenvector of G(r) of the largest eigenvalue, kept where that eigenvalue exceeds crop

    The phase of each pixel, which the eigenvector leaves free, is that of the smooth virtual coil w^H s(r) = real and
    positive, w the first principal component of the calibration data over coils (its largest entry real and positive).
    A single coil as reference would put a phase singularity into every hole of that coil; the virtual coil can vanish
    too, but seldom inside the object. Only the calibration block is read.

    Args:
        kspace: (coil, h, w) complex, centred, scale free.
        mask: sampled lines (w,) or points (h, w); None if everything is sampled.
        lost: points (h, w) that would belong to the block and have no value, such as repaired ones; patches with one
            are left out, in place of a block that ends before it.
        width: side of the calibration block, at most; where less is fully sampled about the centre, less is used.
        kernel: side k of the patches.
        threshold: singular values below this share of the largest count as noise.
        crop: eigenvalues run from 0 to 1 and are near 1 where there is signal.

    Returns:
        maps, (coil, h, w) complex64.

    Raises:
        ValueError: shapes disagree, the calibration block is smaller than a patch or holds nothing, or every patch has
            lost points.

    Differs: no soft weighting of the cropped border; the sum over kernels is taken on the (2k-1)^2 lags of their
        autocorrelation, which is the same number.
    Source: Uecker et al., ESPIRiT, Magnetic Resonance in Medicine 71:990, 2014, eqs. 13-19.
    """
    return espirit_sets(kspace, mask, 1, lost=lost, width=width, kernel=kernel, threshold=threshold, crop=crop)[0]


def espirit_sets(
    kspace: Tensor,
    mask: Tensor | None = None,
    sets: int = 2,
    *,
    lost: Tensor | None = None,
    width: int | tuple[int, int] = 24,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.9,
) -> Tensor:
    """Several sets of ESPIRiT maps, the eigenvectors of the `sets` largest eigenvalues: y = F sum_m s_m x_m.

    Where the field of view is smaller than the object, two places fold onto one pixel and two eigenvalues are near 1:
    one set of maps cannot explain such data, two can (soft-SENSE; `invdiff.operators.row` is the operator). Elsewhere
    the later sets are cropped to zero. Maps of one pixel are orthogonal over coils.

    Args:
        sets: 1 to the number of coils. The others as for `espirit`.

    Returns:
        maps, (sets, coil, h, w) complex64.

    Raises:
        ValueError: as `espirit`, or an impossible number of sets.

    Source: Uecker et al., ESPIRiT, Magnetic Resonance in Medicine 71:990, 2014, section "Extended (soft) SENSE".
    """
    rows, columns = _block(kspace, mask if mask is None or lost is None else (mask != 0) | lost, width, kernel)
    calibration = kspace[:, rows, columns].to(torch.complex128)
    whole = _whole_patches(calibration, None if lost is None else lost[rows, columns], kernel)
    if not 1 <= sets <= len(kspace):
        raise ValueError(f"wanted 1 to {len(kspace)} sets of maps for {len(kspace)} coils, got {sets}.")
    lags = _lags(_projector(whole, threshold), len(kspace), kernel)
    h, w = kspace.shape[1:]
    left, right = _harmonics(h, kernel, lags), _harmonics(w, kernel, lags)
    virtual = virtual_coil(calibration).to(torch.complex64)
    bands = left.split(max(1, 2**22 // (w * len(kspace) ** 2)))
    return torch.cat([_maps_of_rows(lags, band, right, virtual, sets, crop) for band in bands], dim=2)


def calibration_block(kspace: Tensor, mask: Tensor | None, width: int | tuple[int, int], kernel: int) -> Tensor:
    """The fully sampled block about the centre of k-space, (coil, i, j), at most `width` and at least `kernel` wide.

    Raises:
        ValueError: k-space is not complex (coil, h, w), the block is too small, zero or not finite.
    """
    rows, columns = _block(kspace, mask, width, kernel)
    return kspace[:, rows, columns]


def _block(kspace: Tensor, mask: Tensor | None, width: int | tuple[int, int], kernel: int) -> tuple[slice, slice]:
    """Rows and columns of `calibration_block`, checked."""
    if kspace.ndim != 3 or not kspace.is_complex():
        raise ValueError(f"kspace must be complex (coil, h, w), got {kspace.dtype} {tuple(kspace.shape)}.")
    h, w = kspace.shape[1:]
    full = torch.ones(w, dtype=torch.bool) if mask is None else mask
    widths = (width, width) if isinstance(width, int) else width
    rows, columns = calibration_region(full, (h, w))
    rows, columns = _shorten(rows, h, widths[0]), _shorten(columns, w, widths[1])
    block = kspace[:, rows, columns]
    if min(block.shape[1:]) < kernel:
        raise ValueError(
            f"the calibration block is {tuple(block.shape[1:])}, smaller than the kernel {kernel}; give more "
            "calibration lines, a larger width or a smaller kernel."
        )
    if not bool(block.isfinite().all()) or not bool((block != 0).any()):
        raise ValueError("the calibration block is all zero or not finite, so it says nothing about the coils.")
    return rows, columns


def _shorten(block: slice, n: int, length: int) -> slice:
    """At most `length` of the block, about the centre of n, shifted to stay inside the block."""
    length = min(length, block.stop - block.start)
    start = min(max((n - length + 1) // 2, block.start), block.stop - length)
    return slice(start, start + length)


def _whole_patches(calibration: Tensor, lost: Tensor | None, kernel: int) -> Tensor:
    """X, (coil k^2, n): the patches of (coil, i, j) without a lost point, one per column.

    Raises:
        ValueError: there is none.
    """
    patches = calibration.unfold(1, kernel, 1).unfold(2, kernel, 1)  # (coil, i, j, k, k)
    x = patches.permute(0, 3, 4, 1, 2).reshape(len(calibration) * kernel**2, -1)
    if lost is None:
        return x
    whole = ~lost.unfold(0, kernel, 1).unfold(1, kernel, 1).flatten(2).any(2).flatten()
    if not bool(whole.any()):
        raise ValueError(
            f"{int(lost.sum())} points of the calibration block have no value, and every patch of {kernel} x {kernel} "
            "holds one, so it says nothing about the coils; leave out the slice."
        )
    return x[:, whole]


def _projector(x: Tensor, threshold: float) -> Tensor:
    """P, (coil k^2, coil k^2): onto the span of the columns of X."""
    power, v = torch.linalg.eigh(x @ x.mH)
    v = v[:, power > threshold**2 * power[-1]]
    return v @ v.mH


def _lags(p: Tensor, coils: int, kernel: int) -> Tensor:
    """g[c, d, a - b] = 1/k^2 sum P[c a, d b], (coil, coil, 2k-1, 2k-1)."""
    k = kernel
    p = p.reshape(coils, k, k, coils, k, k).permute(0, 3, 1, 2, 4, 5)  # c, d, a, b
    g = p.new_zeros(coils, coils, 2 * k - 1, 2 * k - 1)
    for i in range(k):
        for j in range(k):
            g[:, :, i : i + k, j : j + k] += p[:, :, :, :, k - 1 - i, k - 1 - j]
    return (g / k**2).to(torch.complex64)


def _harmonics(n: int, kernel: int, like: Tensor) -> Tensor:
    """exp(2 pi i lag r / n), (n, 2k-1), r from the centre pixel."""
    r = torch.arange(n, dtype=torch.float64) - n // 2
    lag = torch.arange(2 * kernel - 1, dtype=torch.float64) - (kernel - 1)
    phase = 2 * math.pi * r[:, None] * lag / n
    return torch.polar(torch.ones_like(phase), phase).to(like)


def virtual_coil(calibration: Tensor) -> Tensor:
    """w, the first principal component over coils of (coil, ...), (coil,), its largest entry real and positive."""
    x = calibration.flatten(1)
    w = torch.linalg.eigh(x @ x.mH)[1][:, -1]
    return w / torch.sgn(w[w.abs().argmax()])


def _maps_of_rows(lags: Tensor, left: Tensor, right: Tensor, virtual: Tensor, sets: int, crop: float) -> Tensor:
    """Maps of a band of rows, (sets, coil, rows, w)."""
    g = torch.einsum("ra,cdab,wb->rwcd", left, lags, right)
    value, vector = torch.linalg.eigh(g)
    s = vector[..., -sets:].flip(-1)  # (rows, w, coil, sets)
    s = s * torch.sgn(torch.einsum("c,rwcm->rwm", virtual.conj(), s)).conj()[..., None, :]
    s = torch.where((value[..., -sets:].flip(-1) > crop)[..., None, :], s, torch.zeros_like(s))
    return s.permute(3, 2, 0, 1).contiguous()


def simulate_maps(coils: int, shape: tuple[int, int], seed: int = 0) -> Tensor:
    """Sensitivities of loop coils on a ring about the image, (coil, h, w) complex64, sum |s|^2 = 1 everywhere.

        s(r) = B_x - i B_y,   B(r) = sum over segments dl x (r - l) / |r - l|^3

    Each loop stands about 1.5 half-sides (of the longer side) from the centre and faces it; angle, distance
    and phase vary with the seed. Source: the law of Biot and Savart with the principle of reciprocity (Hoult, Concepts
    in Magnetic Resonance 12:173, 2000).

    Raises:
        ValueError: fewer than one coil or pixel.
    """
    if coils < 1 or min(shape) < 1:
        raise ValueError(f"wanted at least one coil and one pixel, got {coils} coils and shape {shape}.")
    generator = Generator().manual_seed(mix(seed, coils))
    jitter = torch.rand(coils, 3, generator=generator, dtype=torch.float64) - 0.5
    angle = 2 * math.pi * (torch.arange(coils, dtype=torch.float64) + 0.3 * jitter[:, 0]) / coils
    distance = 1.5 * (1 + 0.1 * jitter[:, 1])
    radius = min(0.7, 1.5 * math.pi / max(coils, 2))
    field = _loop_fields(_pixel_grid(shape), angle, distance, radius)
    field = field * torch.polar(torch.ones(coils, dtype=torch.float64), 2 * math.pi * jitter[:, 2])[:, None, None]
    return (field / torch.linalg.vector_norm(field, dim=0)).to(torch.complex64)


def _pixel_grid(shape: tuple[int, int]) -> Tensor:
    """x and y of every pixel, (2, h, w), the longer side from -1 to 1."""
    scale = 2 / max(shape)
    rows, columns = (scale * (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) for n in shape)
    y, x = torch.meshgrid(-rows, columns, indexing="ij")
    return torch.stack([x, y])


def _loop_fields(grid: Tensor, angle: Tensor, distance: Tensor, radius: float, segments: int = 32) -> Tensor:
    """B_x - i B_y in the plane z = 0 of loops that stand upright and face the centre, (coil, h, w)."""
    x, y = grid
    c, s, d = (v[:, None, None] for v in (angle.cos(), angle.sin(), distance))
    radial, tangential = c * x + s * y - d, c * y - s * x  # coordinates of the pixel from the loop's centre
    b_radial, b_tangential = torch.zeros_like(radial), torch.zeros_like(radial)
    for i in range(segments):
        phi = 2 * math.pi * (i + 0.5) / segments
        lt, lz, dt, dz = radius * math.cos(phi), radius * math.sin(phi), -math.sin(phi), math.cos(phi)
        weight = (radial**2 + (tangential - lt) ** 2 + lz**2) ** -1.5
        b_radial += weight * (dt * -lz - dz * (tangential - lt))  # dl x (r - l), with r in the plane z = 0
        b_tangential += weight * dz * radial
    return torch.complex(c * b_radial - s * b_tangential, -(s * b_radial + c * b_tangential))
