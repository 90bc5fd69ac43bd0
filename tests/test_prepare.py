"""A slice ready to solve holds nothing that its mask hides, and says where it comes from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import invdiff
from invdiff.data.errors import DataError
from invdiff.data.fastmri import FastMRIReader
from invdiff.data.kspace import open_kspace
from invdiff.data.kspace_ismrmrd import IsmrmrdReader
from invdiff.data.masks import cartesian_mask
from invdiff.data.synthetic import centred_fft2, centred_ifft2, coil_images, write_synthetic_fastmri
from invdiff.data.undersampling import Undersampling
from invdiff.operators.partial_fourier import partial_fourier_mask
from invdiff.prepare import CartesianScan, centre_crop, noise_scan, one_sided, prepare
from invdiff.prepare_coils import Coils, level_whitening
from invdiff.scan import Slice
from invdiff.settings import UsageError
from tests.data.raw import acquisition, example, rows_of, write_ismrmrd
from tests.data.test_coils import folded


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_synthetic_fastmri(tmp_path / "scan.h5", shape=(48, 40), coils=4, slices=1, sigma=0)


PATTERN = Undersampling("random", 2, 0.3)


def mask_of(item: Slice) -> torch.Tensor:
    """(H, W)."""
    assert item.op.sampled is not None
    return item.op.sampled[0, 0]


def test_unsampled_points_are_not_seen(scan: Path) -> None:
    item = prepare(open_kspace(scan), 0, PATTERN)
    assert torch.equal(mask_of(item), PATTERN.mask((48, 40)).expand(48, 40))
    assert not bool((item.y[..., ~mask_of(item)] != 0).any())
    with h5py.File(scan, "r+") as file:
        values = file["kspace"][()]
        values[..., ~mask_of(item).numpy()] = 7
        file["kspace"][...] = values
    again = prepare(open_kspace(scan), 0, PATTERN)
    assert torch.equal(again.y, item.y)
    x = torch.randn(1, 1, 48, 40, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.op(x), item.op(x))  # so the maps, too, come from what was kept
    assert item.reference is not None


@pytest.mark.parametrize("options", [{}, {"repair": True}, {"infer_mask": True}])
def test_a_slice_is_read_once(scan: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    read, reads = FastMRIReader.kspace, []
    monkeypatch.setattr(FastMRIReader, "kspace", lambda reader, i: reads.append(i) or read(reader, i))
    file = open_kspace(scan, isolated=False, **options)
    assert CartesianScan(file, PATTERN).slice(0) is not None
    assert reads == [0]
    kspace, mask = file.kspace(0), file.sampling(0)
    assert len(reads) == 3  # negative control: apart, they are readings of their own
    both = file.measured(0)
    assert both is not None
    assert torch.equal(both[0], kspace)
    assert torch.equal(both[1], mask)


def test_a_slice_of_zeros_is_none(scan: Path) -> None:
    with h5py.File(scan, "r+") as file:
        file["kspace"][...] = 0
    assert open_kspace(scan).measured(0) is None
    assert CartesianScan(open_kspace(scan), PATTERN).slice(0) is None


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
    assert not bool(mask_of(item)[:, :3].any() | mask_of(item)[:, 37:].any())


def test_undersampled_files_are_not_undersampled_again(tmp_path: Path) -> None:
    mask = cartesian_mask(40, 2, 12)
    path = write_synthetic_fastmri(tmp_path / "under.h5", shape=(48, 40), coils=2, slices=1, mask=mask)
    item = prepare(open_kspace(path), 0)
    assert torch.equal(mask_of(item), mask.expand(48, 40))
    assert item.reference is None
    with pytest.raises(UsageError, match="already undersampled"):
        prepare(open_kspace(path), 0, PATTERN)


def test_stored_maps_are_taken_where_asked_for(scan: Path) -> None:
    with pytest.raises(UsageError, match="stores no coil maps"):
        prepare(open_kspace(scan), 0, PATTERN, Coils("stored"))
    images = coil_images((48, 40), 4)
    maps = images / torch.linalg.vector_norm(images, dim=0).clamp(min=1e-6)
    with h5py.File(scan, "r+") as file:
        file["maps"] = maps[None].numpy()
    x = torch.linalg.vector_norm(images, dim=0)[None, None].to(torch.complex64)
    y = prepare(open_kspace(scan), 0, coils=Coils("stored"))
    torch.testing.assert_close(y.op(x), y.y, rtol=1e-3, atol=1e-5)  # A x = y to float32, without noise


def test_points_and_lines_undersample_together(scan: Path) -> None:
    item = prepare(open_kspace(scan), 0, Undersampling("poisson", 2, 0.3))
    assert item.sampling == f"{1 / float(mask_of(item).float().mean()):.2f}x"
    assert torch.equal(item.y[0, 0] != 0, mask_of(item))


def test_noise_scans_whiten(tmp_path: Path, scan: Path) -> None:
    with pytest.raises(UsageError, match="has no noise scan"):
        prepare(open_kspace(scan), 0, coils=Coils(whiten=True))
    generator = np.random.default_rng(0)
    mixing = np.array([[1, 0.9, 0], [0, 1, 0.2j], [0, 0, 3]])
    noise = mixing @ generator.standard_normal((3, 4000, 2)).view(complex)[..., 0]
    kspace = (mixing @ generator.standard_normal((3, 192, 2)).view(complex)[..., 0]).reshape(1, 3, 16, 12)
    path = write_ismrmrd(tmp_path / "a.h5", [acquisition(noise, flags=(19,)), *rows_of(kspace)])
    file = open_kspace(path)
    whitened = level_whitening(noise_scan(file)) @ file.kspace(0).flatten(1)
    psi = (whitened @ whitened.mH) / (2 * whitened.shape[1])
    level = float(np.trace(mixing @ mixing.conj().T).real / 3)
    # 192 samples: standard error of a covariance entry is level / sqrt(192)
    assert float((psi - level * torch.eye(3)).abs().max()) < 5 * level / 192**0.5
    wrong = write_ismrmrd(tmp_path / "b.h5", [acquisition(noise[:2], flags=(19,)), *rows_of(kspace)])
    with pytest.raises(DataError, match="noise scan of 2 coils, k-space has 3"):
        prepare(open_kspace(wrong), 0, coils=Coils(whiten=True))


def test_maps_are_whitened_with_the_data(tmp_path: Path) -> None:
    images = coil_images((16, 12), 3)
    maps = images / torch.linalg.vector_norm(images, dim=0).clamp(min=1e-6)
    noise = np.random.default_rng(0).standard_normal((3, 400, 2)).view(complex)[..., 0] * np.array([[1], [2], [4]])
    path = write_ismrmrd(tmp_path / "a.h5", [acquisition(noise, flags=(19,)), *rows_of(example(1))])
    file = open_kspace(path)
    stored = replace(file, contents=replace(file.contents, maps="maps", reader=WithMaps(path, "dataset", maps.numpy())))
    item = prepare(stored, 0, coils=Coils("stored", whiten=True))
    x = torch.linalg.vector_norm(images, dim=0)[None, None].to(torch.complex64)
    torch.testing.assert_close(item.op(x), item.y, rtol=1e-3, atol=1e-4)  # float32, values up to 20


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


def test_coils_are_compressed_with_their_maps(scan: Path) -> None:
    images = coil_images((48, 40), 4)
    with h5py.File(scan, "r+") as file:
        file["maps"] = (images / torch.linalg.vector_norm(images, dim=0).clamp(min=1e-6))[None].numpy()
    item = prepare(open_kspace(scan), 0, coils=Coils("stored", virtual=3))
    assert item.op.shape_out == (3, 48, 40)
    x = torch.linalg.vector_norm(images, dim=0)[None, None].to(torch.complex64)
    torch.testing.assert_close(item.op(x), item.y, rtol=1e-3, atol=1e-4)  # maps are compressed as the data are
    whole = open_kspace(scan).kspace(0)
    assert float(item.y.norm() / whole.norm()) > 0.95  # three of four coils hold most of the signal
    estimated = prepare(open_kspace(scan), 0, PATTERN, Coils(virtual=3))
    assert estimated.op.shape_out[0] == 3
    with pytest.raises(UsageError, match="more than the 4"):
        prepare(open_kspace(scan), 0, coils=Coils(virtual=5))


def test_read_out_oversampling_is_cut_away(tmp_path: Path) -> None:
    images = coil_images((48, 40), 4)
    wide = torch.zeros(4, 96, 40, dtype=images.dtype)
    wide[:, 24:72] = images
    maps = wide / torch.linalg.vector_norm(wide, dim=0).clamp(min=1e-6)
    np.savez(tmp_path / "a.npz", kspace=centred_fft2(wide)[None].numpy(), maps=maps[None].numpy())
    item = prepare(open_kspace(tmp_path / "a.npz"), 0, PATTERN, Coils("stored"), oversampling=2)
    assert item.op.shape_out == (4, 48, 40)
    x = torch.linalg.vector_norm(images, dim=0)[None, None].to(torch.complex64)
    torch.testing.assert_close(item.op(x), item.y, rtol=1e-3, atol=1e-4)
    assert CartesianScan(open_kspace(tmp_path / "a.npz"), oversampling=2).shape == (1, 48, 40)
    for factor, pattern, sentence in (
        (5, PATTERN, "no multiple"),
        (2, Undersampling("poisson", 2, 0.3), "undersampled"),
    ):
        with pytest.raises(UsageError, match=sentence):
            prepare(open_kspace(tmp_path / "a.npz"), 0, pattern, Coils("stored"), oversampling=factor)


def test_body_coil_maps_and_low_resolution_maps_explain_the_data(scan: Path) -> None:
    with pytest.raises(UsageError, match="no k-space of a body coil"):
        prepare(open_kspace(scan), 0, PATTERN, Coils("body-coil"))
    images = coil_images((48, 40), 4)
    with h5py.File(scan, "r+") as file:
        file["kspace_body_coil"] = centred_fft2(torch.linalg.vector_norm(images, dim=0)[None, None] + 0j).numpy()
    x = torch.linalg.vector_norm(images, dim=0)
    for maps in ("body-coil", "low-resolution", "espirit"):
        item = prepare(open_kspace(scan), 0, PATTERN, Coils(maps))  # type: ignore[arg-type]
        solved = invdiff.solve(item.y, item.op, method="cg", sigma_y=1e-3)
        assert float((item.image(solved.x).abs() - x).norm() / x.norm()) < 0.15
        assert item.sampling.startswith("2.00x")
    with h5py.File(scan, "r+") as file:
        del file["kspace_body_coil"]
        file["kspace_body_coil"] = np.ones((1, 2, 8, 8), np.complex64)
    with pytest.raises(DataError, match="take the body coil of this scan"):
        open_kspace(scan)


def test_one_side_of_kspace_is_completed_by_the_phase_of_the_centre(scan: Path) -> None:
    images = coil_images((48, 40), 4)
    mask = partial_fourier_mask(40, 0.65)
    assert one_sided(mask)
    assert one_sided(mask.flip(0)[None].expand(48, 40))
    assert not one_sided(cartesian_mask(40, 2, 12))
    assert not one_sided(torch.ones(40, dtype=torch.bool))
    under = np.where(mask.numpy(), centred_fft2(images).numpy(), 0)
    np.savez(scan.with_name("a.npz"), kspace=under[None], mask=mask.numpy())
    file, x = open_kspace(scan.with_name("a.npz")), torch.linalg.vector_norm(images, dim=0)
    errors = {}
    for asked in (False, True):
        item = prepare(file, 0, partial_fourier=asked)
        solved = invdiff.solve(item.y, item.op, method="cg", sigma_y=1e-3)
        image = item.image(solved.x)
        assert image.shape == (48, 40)
        assert image.is_complex()
        errors[asked] = float((image.abs() - x).norm() / x.norm())
        assert ("--partial-fourier" in item.sampling) is not asked
    assert errors[True] < 0.7 * errors[False]
    with pytest.raises(UsageError, match="one set of maps"):
        prepare(file, 0, coils=Coils(sets=2), partial_fourier=True)


def test_soft_sense_is_one_image_of_two_sets(tmp_path: Path) -> None:
    kspace, _, _ = folded()
    np.savez(tmp_path / "a.npz", kspace=kspace[None].numpy())
    item = prepare(open_kspace(tmp_path / "a.npz"), 0, coils=Coils(sets=2))
    assert item.op.shape_in[0] == 2
    solved = invdiff.solve(item.y, item.op, method="cg", sigma_y=1e-3)
    image, truth = item.image(solved.x), centred_ifft2(kspace).norm(dim=0)
    assert float((image.abs() - truth).norm() / truth.norm()) < 0.05  # sets are orthonormal over coils
    with pytest.raises(UsageError, match="one set of stored maps"):
        Coils("stored", sets=2)
    with pytest.raises(UsageError, match="none of espirit"):
        Coils("esprit")  # type: ignore[arg-type]


def test_maps_that_nothing_tells_are_refused_with_what_to_do(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((1, 4, 32, 28, 2)).view(complex)[..., 0]
    np.savez(tmp_path / "a.npz", kspace=noise)
    with pytest.raises(ValueError, match="--maps low-resolution"):
        prepare(open_kspace(tmp_path / "a.npz"), 0, coils=Coils(crop=1.1))
