"""The phantom, the synthetic file and the packaged sample are what they say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from invdiff.data.phantom import head_phantom, smooth_phase
from invdiff.data.samples import load_sample
from invdiff.data.synthetic import centred_fft2, centred_ifft2, write_synthetic_fastmri


@pytest.mark.parametrize("shape", [(64, 64), (65, 48), (40, 71), (8, 8)])
def test_head(shape: tuple[int, int]) -> None:
    head = head_phantom(shape, 2)
    assert tuple(head.shape) == shape
    assert head.dtype == torch.float32
    assert 0 <= float(head.min())
    assert 0.5 < float(head.max()) <= 1
    if min(shape) > 8:
        assert float(head[0].max()) == 0
        assert float(head[:, 0].max()) == 0
    assert torch.equal(head, head_phantom(shape, 2))
    assert not torch.equal(head, head_phantom(shape, 3))
    with pytest.raises(ValueError, match=r"at least \(8, 8\)"):
        head_phantom((7, 64))


def test_head_is_the_same_at_another_resolution() -> None:
    coarse = head_phantom((64, 64), 0)
    fine = torch.nn.functional.avg_pool2d(head_phantom((256, 256), 0)[None], 4)[0]
    # edges are one pixel wide at either size, and the folds are finer than the coarse pixels
    assert float((coarse - fine).norm() / fine.norm()) < 0.15


def test_phase_is_smooth() -> None:
    phase = smooth_phase((60, 50), 1)
    assert float(phase.diff(dim=0).abs().max()) < 0.5
    assert float(phase.std()) > 0.1


@pytest.mark.parametrize("n", [8, 9])
def test_transform_is_centred_and_orthonormal(n: int) -> None:
    point = torch.zeros(n, n + 1, dtype=torch.complex128)
    point[n // 2, (n + 1) // 2] = 1
    flat = centred_fft2(point)
    torch.testing.assert_close(flat, torch.full_like(flat, 1 / (n * (n + 1)) ** 0.5))
    torch.testing.assert_close(centred_ifft2(flat), point)


def test_existing_files_are_kept(sound: Path) -> None:
    with pytest.raises(FileExistsError):
        write_synthetic_fastmri(sound)


def test_packaged_brain() -> None:
    sample = load_sample()
    assert sample.image.shape == (128, 128)
    assert sample.image.dtype == torch.float32
    assert float(sample.image.max()) == 1
    assert float(sample.image.min()) == 0
    assert sample.pixel_mm == 2
    assert sample.licence.startswith("The MIT License")
    assert "nibabel" in sample.source
    assert float(sample.image[:16].max()) == 0
    assert float(sample.image[64, 64]) > 0
    with pytest.raises(ValueError, match=r"no sample 'knee'; the samples are .*brain"):
        load_sample("knee")


def test_packaged_brain_is_its_source() -> None:
    nibabel = pytest.importorskip("nibabel")
    volume = nibabel.load(Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz")
    image = np.asarray(volume.dataobj)[:, ::-1, 13, 0].T.astype(np.float32)  # anterior is up
    assert np.array_equal(load_sample().image[16:112].numpy(), image / image.max())
