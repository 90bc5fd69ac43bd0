"""Metrics equal scikit-image's with the maximum of the reference volume, and refuse what has no score."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from invdiff.metrics import nmse, psnr, ssim

RNG = np.random.default_rng(0)
REFERENCE = RNG.random((3, 24, 19)).astype(np.float32) * np.array([1, 3, 2], np.float32)[:, None, None]
IMAGE = REFERENCE + 0.1 * RNG.standard_normal(REFERENCE.shape).astype(np.float32)


def test_against_scikit_image() -> None:
    peak = REFERENCE.max()
    assert psnr(REFERENCE, IMAGE) == pytest.approx(peak_signal_noise_ratio(REFERENCE, IMAGE, data_range=peak), rel=1e-7)
    slices = [structural_similarity(r, x, data_range=peak) for r, x in zip(REFERENCE, IMAGE, strict=True)]
    assert ssim(REFERENCE, IMAGE) == pytest.approx(float(np.mean(slices)), rel=1e-7)
    own = [structural_similarity(r, x, data_range=r.max()) for r, x in zip(REFERENCE, IMAGE, strict=True)]
    assert abs(ssim(REFERENCE, IMAGE) - float(np.mean(own))) > 5e-4  # the range of each slice is another metric
    assert nmse(REFERENCE, IMAGE) == pytest.approx(
        float(np.linalg.norm(REFERENCE - IMAGE) ** 2 / np.linalg.norm(REFERENCE) ** 2), rel=1e-5
    )


def test_by_hand() -> None:
    reference, image = np.full((8, 8), 2.0), np.full((8, 8), 1.0)
    assert psnr(reference, image) == pytest.approx(10 * math.log10(4))
    assert psnr(reference, image, data_range=10) == pytest.approx(20)
    assert nmse(reference, image) == pytest.approx(0.25)
    assert nmse(image, reference) == pytest.approx(1.0)  # the first is the reference


def test_kinds_of_input_agree() -> None:
    tensors = torch.from_numpy(REFERENCE), torch.from_numpy(IMAGE).requires_grad_()
    for metric in (psnr, ssim, nmse):
        assert metric(*tensors) == metric(REFERENCE, IMAGE)
        assert metric(REFERENCE[1], IMAGE[1]) == metric(REFERENCE[1:2], IMAGE[1:2])
    assert psnr(REFERENCE, REFERENCE) == math.inf
    assert ssim(REFERENCE, REFERENCE) == 1
    assert nmse(REFERENCE, REFERENCE) == 0


@pytest.mark.parametrize("metric", [psnr, ssim, nmse])
def test_refusals(metric: object) -> None:
    bad = IMAGE.copy()
    bad[0, 0, 0] = np.nan
    for arguments, match in (
        ((REFERENCE, bad), "the image holds 1 values"),
        ((bad, IMAGE), "the reference holds 1 values"),
        ((REFERENCE, IMAGE[:2]), "one shape"),
        ((REFERENCE[None], IMAGE[None]), r"\(h, w\) or \(slices, h, w\)"),
        ((0 * REFERENCE, IMAGE), "all.zero"),
        ((REFERENCE, IMAGE + 0j), "magnitude first"),
    ):
        with pytest.raises(ValueError, match=match):
            metric(*arguments)  # type: ignore[operator]


def test_ssim_needs_a_window() -> None:
    with pytest.raises(ValueError, match="at least 7 pixels"):
        ssim(REFERENCE[:, :6], IMAGE[:, :6])
    with pytest.raises(ValueError, match="must be positive"):
        ssim(REFERENCE, IMAGE, data_range=0)
