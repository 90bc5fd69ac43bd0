"""PSNR = 10 log10(L^2 / mean (x - r)^2), NMSE = |x - r|^2 / |r|^2, SSIM: image quality against a reference.

Images are magnitudes, (h, w) or (slices, h, w), NumPy or torch; the reference comes first. A stack is one volume: PSNR
and NMSE pool its pixels, SSIM averages its slices, and the data range L is the maximum of the whole reference unless
given. These are the definitions of the fastMRI evaluation (Zbontar et al., arXiv:1811.08839), computed
in the precision of the input with sums in double; other ranges and windows give other numbers: compare like with like.

`fastmri_scores` crops and rounds as well as that evaluation does, for tables that stand beside published ones. The
`slice_...` functions score every slice with its own maximum: another metric, under another name.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

_WINDOW = 7
_similarity: Callable[..., float] = structural_similarity
_peak_ratio: Callable[..., float] = peak_signal_noise_ratio


def psnr(reference: Tensor | ArrayLike, image: Tensor | ArrayLike, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio, dB; infinite for equal images.

    Raises:
        ValueError: shapes differ, values are complex or not finite, or the data range is not positive.
    """
    r, x = _pair(reference, image)
    error = float(np.mean((r - x) ** 2, dtype=np.float64))
    peak = _data_range(r, data_range)
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def nmse(reference: Tensor | ArrayLike, image: Tensor | ArrayLike) -> float:
    """Squared error over the squared norm of the reference; 0 for equal images.

    Raises:
        ValueError: as for `psnr`; an all-zero reference has no norm.
    """
    r, x = _pair(reference, image)
    if not r.any():
        raise ValueError("the reference is all zero, so nmse is undefined; leave the slice out and count it.")
    r, x = r.astype(np.float64), x.astype(np.float64)
    return float(np.sum((r - x) ** 2) / np.sum(r**2))


def ssim(reference: Tensor | ArrayLike, image: Tensor | ArrayLike, data_range: float | None = None) -> float:
    """Structural similarity, 1 for equal images.

    7 x 7 uniform window, K 0.01 and 0.03, sample covariance, mean over slices and over pixels at least three from the
    border, by scikit-image.

    Raises:
        ValueError: as for `psnr`, or an image side below 7 pixels.

    Source: Wang et al., IEEE Transactions on Image Processing 13:600, 2004.
    """
    r, x = _pair(reference, image)
    if min(r.shape[-2:]) < _WINDOW:
        raise ValueError(f"ssim needs sides of at least {_WINDOW} pixels, got {r.shape[-2:]}.")
    peak = _data_range(r, data_range)
    stack = zip(r.reshape(-1, *r.shape[-2:]), x.reshape(-1, *r.shape[-2:]), strict=True)
    return float(np.mean([_similarity(a, b, win_size=_WINDOW, data_range=peak) for a, b in stack]))


class FastMRIScores(NamedTuple):
    """What the fastMRI evaluation says of one volume: nmse, psnr in dB, ssim."""

    nmse: float
    psnr: float
    ssim: float


def fastmri_scores(reference: Tensor | ArrayLike, image: Tensor | ArrayLike) -> FastMRIScores:
    """NMSE, PSNR and SSIM of a volume to the last bit of the fastMRI evaluation.

    Reference and image are cropped to a centred square of the reference's last side; the data range is the maximum of
    the cropped reference volume; NMSE and the squared range are rounded in the precision of the input (float32 in all
    files of the data set). The three are the same calls of NumPy and scikit-image, so their bits follow those two.

    Args:
        reference: (slices, h, w), h >= w. image: (slices, h', w'), h' and w' at least w.

    Raises:
        ValueError: shapes that cannot be cropped so, NaN, complex values, or an all-zero reference.

    Differs: equal volumes have an infinite PSNR without a warning.
    Source: Zbontar et al., fastMRI, arXiv:1811.08839, section 5, and the evaluation published with it.
    """
    r, x = _square(_array("reference", reference), _array("image", image))
    peak = r.max()
    if not peak > 0:
        raise ValueError("the reference is all zero, so it has no score; leave the volume out and count it.")
    error = np.linalg.norm(r - x) ** 2 / np.linalg.norm(r) ** 2
    ratio = math.inf if error == 0 else float(_peak_ratio(r, x, data_range=peak))
    total = np.zeros(1)
    for a, b in zip(r, x, strict=True):
        total = total + _similarity(a, b, data_range=peak)
    return FastMRIScores(float(error), ratio, float(total[0] / len(r)))


class LodopabScores(NamedTuple):
    """Means over images: psnr in dB and ssim with each image's own range, psnr_fixed and ssim_fixed with one range."""

    psnr: float
    psnr_fixed: float
    ssim: float
    ssim_fixed: float


def lodopab_scores(reference: Tensor | ArrayLike, image: Tensor | ArrayLike, full_scale: float = 1.0) -> LodopabScores:
    """PSNR and SSIM as the LoDoPaB-CT comparison has them: by image, then averaged.

    Args:
        reference, image: (slices, h, w).
        full_scale: the fixed range, 1 for images normalised as the data set stores them, 0.08135858 for mm^-1.

    Raises:
        ValueError: as for `psnr`; a reference image that is constant has no range.

    Source: Leuschner et al., Quantitative Comparison of Deep Learning-Based Image Reconstruction Methods for Low-Dose
    and Sparse-Angle CT Applications, 2021, section 2.6: L = max x - min x of the reference, and L fixed.
    """
    r, x = _pair(reference, image)
    if r.ndim != 3:
        raise ValueError(f"lodopab_scores takes (slices, h, w), got {r.shape}.")
    pairs = [(a, b, float(a.max() - a.min())) for a, b in zip(r, x, strict=True)]
    return LodopabScores(
        float(np.mean([psnr(a, b, own) for a, b, own in pairs])),
        float(np.mean([psnr(a, b, full_scale) for a, b, _ in pairs])),
        float(np.mean([ssim(a, b, own) for a, b, own in pairs])),
        float(np.mean([ssim(a, b, full_scale) for a, b, _ in pairs])),
    )


def slice_psnr(reference: Tensor | ArrayLike, image: Tensor | ArrayLike) -> list[float]:
    """`psnr` of every slice of (slices, h, w), each with its own maximum as data range; NaN for all-zero references."""
    return _by_slice(psnr, reference, image)


def slice_nmse(reference: Tensor | ArrayLike, image: Tensor | ArrayLike) -> list[float]:
    """`nmse` of every slice of (slices, h, w); NaN for all-zero references."""
    return _by_slice(nmse, reference, image)


def slice_ssim(reference: Tensor | ArrayLike, image: Tensor | ArrayLike) -> list[float]:
    """`ssim` of every slice of (slices, h, w), each with its own maximum as data range; NaN for all-zero references."""
    return _by_slice(ssim, reference, image)


def _by_slice(metric: Callable[..., float], reference: Tensor | ArrayLike, image: Tensor | ArrayLike) -> list[float]:
    r, x = _pair(reference, image)
    if r.ndim != 3:
        raise ValueError(f"scores by slice take (slices, h, w), got {r.shape}.")
    return [metric(a, b) if a.any() else math.nan for a, b in zip(r, x, strict=True)]


def _square(r: NDArray[np.floating], x: NDArray[np.floating]) -> tuple[NDArray[np.floating], ...]:
    """Both cropped to the centred square of the reference's last side."""
    side = r.shape[-1] if r.ndim else 0
    if r.ndim != 3 or x.ndim != 3 or len(r) != len(x) or min(r.shape[-2], *x.shape[-2:]) < side:
        raise ValueError(
            f"the fastMRI evaluation takes volumes (slices, h, w) that hold a square of the reference's width, got a "
            f"reference {r.shape} and an image {x.shape}."
        )
    if side < _WINDOW:
        raise ValueError(f"ssim needs sides of at least {_WINDOW} pixels, got a square of {side}.")
    return tuple(_centre(v, side) for v in (r, x))


def _centre(volume: NDArray[np.floating], side: int) -> NDArray[np.floating]:
    top, left = ((n - side) // 2 for n in volume.shape[-2:])
    return volume[..., top : top + side, left : left + side]


def _pair(reference: Tensor | ArrayLike, image: Tensor | ArrayLike) -> tuple[NDArray[np.floating], ...]:
    r, x = _array("reference", reference), _array("image", image)
    if r.shape != x.shape:
        raise ValueError(f"reference and image must have one shape, got {r.shape} and {x.shape}; crop one of them.")
    if r.ndim not in (2, 3) or r.size == 0:
        raise ValueError(f"metrics take (h, w) or (slices, h, w), got {r.shape}. Pass x[:, 0], one channel.")
    return r, x


def _array(what: str, values: Tensor | ArrayLike) -> NDArray[np.floating]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"the {what} must be real, got {array.dtype}; take the magnitude first.")
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise ValueError(f"the {what} holds {bad} values that are NaN or infinite; no metric can be computed.")
    return array


def _data_range(reference: NDArray[np.floating], data_range: float | None) -> float:
    value = float(reference.max()) if data_range is None else float(data_range)
    if not 0 < value < math.inf:
        came = "the maximum of the reference" if data_range is None else "data_range"
        raise ValueError(f"{came} is {value}; the data range must be positive (an all-zero slice has no score).")
    return value
