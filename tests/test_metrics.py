"""Metrics equal scikit-image's with the maximum of the reference volume, and refuse what has no score."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from invdiff.metrics import fastmri_scores, lodopab_scores, nmse, psnr, slice_nmse, slice_psnr, slice_ssim, ssim

RNG = np.random.default_rng(0)
# The published evaluator (github.com/facebookresearch/fastMRI, fastmri/evaluate.py, commit 91f2df47), run once with
# NumPy 2.4.6 and scikit-image 0.26.0 on `fixed_pair`: shape of the target, of the image, scale, then NMSE, PSNR, SSIM.
PUBLISHED = [
    ((3, 40, 32), (3, 40, 32), 1.0, 0.005811444949358702, 28.36812642435179, 0.9885508485388238),
    ((4, 37, 33), (4, 35, 33), 2e-4, 0.004718941170722246, 30.075059889416778, 0.9912022669047158),
    ((1, 64, 64), (1, 64, 64), 1e3, 0.005540582351386547, 27.33866403653657, 0.9905774349548303),
]
Shape = tuple[int, int, int]
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


def fixed_volume(start: int, shape: Shape, scale: float) -> np.ndarray:
    """Numbers made of integers, so that every machine has the same bits."""
    k = np.arange(start, start + math.prod(shape), dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**24)
    return (k.astype(np.float32) / np.float32(2**24)).reshape(shape) * np.float32(scale)


def fixed_pair(case: int, target_shape: Shape, image_shape: Shape, scale: float) -> tuple[np.ndarray, np.ndarray]:
    target = fixed_volume(1000 * case, target_shape, scale)
    target[1::2] *= np.float32(0.5)
    top = (target_shape[1] - image_shape[1]) // 2
    base = target[:, top : top + image_shape[1]]
    return target, base * np.float32(0.9) + fixed_volume(77 + case, image_shape, scale * 0.05)


@pytest.mark.parametrize("case", range(len(PUBLISHED)))
def test_fastmri_scores_are_the_published_numbers(case: int) -> None:
    target_shape, image_shape, scale, *numbers = PUBLISHED[case]
    found = fastmri_scores(*fixed_pair(case, target_shape, image_shape, scale))
    # NMSE is rounded in float32 by a BLAS norm, whose order of summation is the machine's
    assert found.nmse == pytest.approx(numbers[0], rel=1e-6)
    assert found.psnr == pytest.approx(numbers[1], rel=1e-9)
    assert found.ssim == pytest.approx(numbers[2], rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fastmri_scores_are_the_same_calls_bit_for_bit(dtype: type[np.floating]) -> None:
    target, image = (v.astype(dtype) for v in fixed_pair(0, (3, 40, 32), (3, 40, 32), 1.0))
    found = fastmri_scores(torch.from_numpy(target), image)
    r, x = target[:, 4:36], image[:, 4:36]
    assert found.nmse == np.linalg.norm(r - x) ** 2 / np.linalg.norm(r) ** 2
    assert found.psnr == peak_signal_noise_ratio(r, x, data_range=r.max())
    assert found.ssim == sum(structural_similarity(a, b, data_range=r.max()) for a, b in zip(r, x, strict=True)) / 3
    wide = fastmri_scores(target.astype(np.float64), image.astype(np.float64))
    if dtype is np.float32:  # negative control: another precision has other bits
        assert found.nmse != wide.nmse
        assert found.nmse == pytest.approx(wide.nmse, rel=1e-5)


def test_fastmri_scores_see_a_wrong_range_crop_or_order() -> None:
    target, image = fixed_pair(0, (3, 40, 32), (3, 40, 32), 1.0)
    found = fastmri_scores(target, image)
    assert fastmri_scores(image, target) != found
    assert fastmri_scores(target[:, 2:], image[:, 2:]) != found  # another square
    assert abs(float(np.mean(slice_psnr(target[:, 4:36], image[:, 4:36]))) - found.psnr) > 0.05
    assert abs(float(np.mean(slice_ssim(target[:, 4:36], image[:, 4:36]))) - found.ssim) > 1e-5
    assert fastmri_scores(target, target) == (0.0, math.inf, 1.0)


def test_fastmri_scores_refuse_what_has_none() -> None:
    target, image = fixed_pair(0, (3, 40, 32), (3, 40, 32), 1.0)
    for arguments, match in (
        ((target[:, :31], image), "square of the reference's width"),
        ((target, image[:, :, :31]), "square of the reference's width"),
        ((target, image[:2]), "square of the reference's width"),
        ((target[0], image[0]), "square of the reference's width"),
        ((target[..., :6], image), "at least 7 pixels"),
        ((0 * target, image), "all zero"),
        ((target, image * np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=match):
            fastmri_scores(*arguments)


def test_scores_by_slice_have_their_own_maximum() -> None:
    for one, metric in ((slice_psnr, psnr), (slice_ssim, ssim), (slice_nmse, nmse)):
        found = one(REFERENCE, IMAGE)
        assert found == [metric(r, x) for r, x in zip(REFERENCE, IMAGE, strict=True)]
        emptied = REFERENCE.copy()
        emptied[1] = 0
        assert np.isnan(one(emptied, IMAGE)).tolist() == [False, True, False]
        with pytest.raises(ValueError, match="scores by slice"):
            one(REFERENCE[0], IMAGE[0])


def test_lodopab_scores_are_means_over_images_with_two_ranges() -> None:
    reference = RNG.random((3, 20, 24)) * np.array([0.3, 0.6, 1.0])[:, None, None] + 0.1
    image = reference + 0.02 * RNG.standard_normal(reference.shape)
    found = lodopab_scores(reference, image)
    ranges = [a.max() - a.min() for a in reference]
    own = zip(reference, image, ranges, strict=True)
    assert found.psnr == pytest.approx(np.mean([peak_signal_noise_ratio(a, b, data_range=d) for a, b, d in own]))
    pairs = list(zip(reference, image, strict=True))
    assert found.psnr_fixed == pytest.approx(np.mean([peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]))
    assert found.ssim_fixed == pytest.approx(np.mean([structural_similarity(a, b, data_range=1) for a, b in pairs]))
    assert found.ssim < found.ssim_fixed
    scaled = lodopab_scores(0.08135858 * reference, 0.08135858 * image, 0.08135858)
    assert tuple(scaled) == pytest.approx(tuple(found), rel=1e-6)
    with pytest.raises(ValueError, match="takes"):
        lodopab_scores(reference[0], image[0])
