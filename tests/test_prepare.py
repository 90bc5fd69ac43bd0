"""A slice ready to solve holds nothing that its mask hides, and says where it comes from."""

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from invdiff.data.errors import DataError
from invdiff.data.kspace import open_kspace
from invdiff.data.kspace_ismrmrd import IsmrmrdReader
from invdiff.data.masks import cartesian_mask
from invdiff.data.synthetic import coil_images, write_synthetic_fastmri
from invdiff.data.undersampling import Undersampling
from invdiff.prepare import centre_crop, prepare, whitening
from invdiff.settings import UsageError
from tests.data.raw import acquisition, example, rows_of, write_ismrmrd


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_synthetic_fastmri(tmp_path / "scan.h5", shape=(48, 40), coils=4, slices=1, sigma=0)


PATTERN = Undersampling("random", 2, 0.3)


def test_unsampled_points_are_not_seen(scan: Path) -> None:
    item = prepare(open_kspace(scan), 0, PATTERN)
    assert torch.equal(item.mask, PATTERN.mask((48, 40)))
    assert not bool((item.kspace[..., ~item.mask] != 0).any())
    with h5py.File(scan, "r+") as file:
        values = file["kspace"][()]
        values[..., ~item.mask.numpy()] = 7
        file["kspace"][...] = values
    again = prepare(open_kspace(scan), 0, PATTERN)
    assert torch.equal(again.kspace, item.kspace)
    x = torch.randn(1, 1, 48, 40, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.op(x), item.op(x))  # so the maps, too, come from what was kept
    assert item.reference is not None


def test_columns_that_the_header_calls_padding_are_not_measured(scan: Path) -> None:
    with h5py.File(scan, "r+") as file:
        header = (
            file["ismrmrd_header"][()].replace(b"<maximum>39<", b"<maximum>33<").replace(b"<center>20<", b"<center>17<")
        )
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = np.bytes_(header)
        file["kspace"][..., :3] = 0
        file["kspace"][..., 37:] = 0
    file = open_kspace(scan)
    assert torch.nonzero(~file.sampling(0))[:, 0].tolist() == [0, 1, 2, 37, 38, 39]
    assert file.fully_sampled
    item = prepare(file, 0, PATTERN)
    assert not bool(item.mask[:3].any() | item.mask[37:].any())


def test_undersampled_files_are_not_undersampled_again(tmp_path: Path) -> None:
    mask = cartesian_mask(40, 2, 12)
    path = write_synthetic_fastmri(tmp_path / "under.h5", shape=(48, 40), coils=2, slices=1, mask=mask)
    item = prepare(open_kspace(path), 0)
    assert torch.equal(item.mask, mask)
    assert item.reference is None
    with pytest.raises(UsageError, match="already undersampled"):
        prepare(open_kspace(path), 0, PATTERN)


def test_stored_maps_are_taken_where_asked_for(scan: Path) -> None:
    with pytest.raises(UsageError, match="stores no coil maps"):
        prepare(open_kspace(scan), 0, PATTERN, maps="stored")
    images = coil_images((48, 40), 4)
    maps = images / torch.linalg.vector_norm(images, dim=0).clamp(min=1e-6)
    with h5py.File(scan, "r+") as file:
        file["maps"] = maps[None].numpy()
    x = torch.linalg.vector_norm(images, dim=0)[None, None].to(torch.complex64)
    y = prepare(open_kspace(scan), 0, maps="stored")
    torch.testing.assert_close(y.op(x), y.kspace, rtol=1e-3, atol=1e-5)  # A x = y to float32, without noise


def test_points_and_lines_undersample_together(scan: Path) -> None:
    item = prepare(open_kspace(scan), 0, Undersampling("poisson", 2, 0.3))
    assert item.mask.shape == (48, 40)
    assert torch.equal(item.kspace[0, 0] != 0, item.mask)


def test_noise_scans_whiten(tmp_path: Path, scan: Path) -> None:
    with pytest.raises(UsageError, match="has no noise scan"):
        prepare(open_kspace(scan), 0, whiten=True)
    generator = np.random.default_rng(0)
    mixing = np.array([[1, 0.9, 0], [0, 1, 0.2j], [0, 0, 3]])
    noise = mixing @ generator.standard_normal((3, 4000, 2)).view(complex)[..., 0]
    kspace = (mixing @ generator.standard_normal((3, 192, 2)).view(complex)[..., 0]).reshape(1, 3, 16, 12)
    path = write_ismrmrd(tmp_path / "a.h5", [acquisition(noise, flags=(19,)), *rows_of(kspace)])
    file = open_kspace(path)
    whitened = whitening(file) @ file.kspace(0).flatten(1)
    psi = (whitened @ whitened.mH) / (2 * whitened.shape[1])
    level = float(np.trace(mixing @ mixing.conj().T).real / 3)
    # 192 samples: standard error of a covariance entry is level / sqrt(192)
    assert float((psi - level * torch.eye(3)).abs().max()) < 5 * level / 192**0.5
    wrong = write_ismrmrd(tmp_path / "b.h5", [acquisition(noise[:2], flags=(19,)), *rows_of(kspace)])
    with pytest.raises(DataError, match="noise scan of 2 coils, k-space has 3"):
        prepare(open_kspace(wrong), 0, whiten=True)


def test_maps_are_whitened_with_the_data(tmp_path: Path) -> None:
    images = coil_images((16, 12), 3)
    maps = images / torch.linalg.vector_norm(images, dim=0).clamp(min=1e-6)
    noise = np.random.default_rng(0).standard_normal((3, 400, 2)).view(complex)[..., 0] * np.array([[1], [2], [4]])
    path = write_ismrmrd(tmp_path / "a.h5", [acquisition(noise, flags=(19,)), *rows_of(example(1))])
    file = open_kspace(path)
    stored = replace(file, contents=replace(file.contents, maps="maps", reader=WithMaps(path, "dataset", maps.numpy())))
    item = prepare(stored, 0, maps="stored", whiten=True)
    x = torch.linalg.vector_norm(images, dim=0)[None, None].to(torch.complex64)
    torch.testing.assert_close(item.op(x), item.kspace, rtol=1e-3, atol=1e-4)  # float32, values up to 20


@dataclass(frozen=True)
class WithMaps(IsmrmrdReader):
    """A reader that has maps."""

    sensitivities: np.ndarray

    def maps(self, i: int) -> np.ndarray:
        return self.sensitivities


def test_crops_about_the_centre_with_the_published_fallback() -> None:
    image = torch.arange(35.0).reshape(1, 5, 7)
    assert centre_crop(image, None) is image
    assert centre_crop(image, (3, 3))[0, 0, 0] == image[0, 1, 2]
    assert centre_crop(torch.zeros(2, 640, 200), (320, 320)).shape == (2, 200, 200)  # narrower than the crop
    assert centre_crop(torch.zeros(2, 100, 320), (320, 320)).shape == (2, 100, 320)
