"""PSNR = 10 log10(L^2 / mean (x - r)^2), NMSE = |x - r|^2 / |r|^2, SSIM: image quality against a reference.

Images are magnitudes, (h, w) or (slices, h, w), NumPy or torch; the reference comes first. A stack is one volume: PSNR
and NMSE pool its pixels, SSIM averages its slices, and the data range L is the maximum of the whole reference unless
given. These are the definitions of the fastMRI evaluation (Zbontar et al., arXiv:1811.08839), computed
in the precision of the input with sums in double; other ranges and windows give other numbers: compare like with like.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.metrics import structural_similarity
from torch import Tensor

_WINDOW = 7
_similarity: Callable[..., float] = structural_similarity


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


def _pair(reference: Tensor | ArrayLike, image: Tensor | ArrayLike) -> tuple[NDArray[np.floating], ...]:
    r, x = _array("reference", reference), _array("image", image)
    if r.shape != x.shape:
        raise ValueError(f"reference and image must have one shape, got {r.shape} and {x.shape}; crop one of them.")
    if r.ndim not in (2, 3) or r.size == 0:
        raise ValueError(f"metrics take (h, w) or (slices, h, w), got {r.shape}.")
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
