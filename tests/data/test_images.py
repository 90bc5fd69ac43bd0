"""Every format gives the planted slices, subjects and spacings, and refuses files with a planted fault."""

import gzip
import multiprocessing
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import matplotlib.image
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from invdiff.data.errors import DataError
from invdiff.data.folders import subject_of
from invdiff.data.image_source import ImageSource
from invdiff.data.images import FORMATS, open_images
from invdiff.data.synthetic import write_synthetic_fastmri

Array = np.ndarray[Any, Any]


def values(*shape: int, seed: int = 0, dtype: type = np.float32) -> Array:
    return np.random.default_rng(seed).uniform(0, 100, shape).astype(dtype)


def write_hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for k, (part, n) in enumerate((("train", 4), ("val", 2))):
            file[f"{part}/images"] = values(n, 6, 5, seed=k, dtype=np.int16)
            file[f"{part}/subject"] = np.array([f"{part}{i // 2}".encode() for i in range(n)])
            file[f"{part}/pixel_spacing_mm"] = np.full(n, 0.5 + k)
        file.attrs["units"] = "Hounsfield units, int16"
    return path


def test_hdf5_parts_subjects_and_units(tmp_path: Path) -> None:
    source = open_images(write_hdf5(tmp_path / "ct.h5"))
    assert (len(source), source.parts, source.kind) == (6, ["train", "val"], "magnitude")
    assert (source.modality, source.unit) == ("CT", "HU")
    train = source.part("train")
    assert train.subjects == ["train0", "train0", "train1", "train1"]
    assert train.spacings[0] == (0.5, 0.5)
    assert train[2].dtype == np.float32
    assert_array_equal(train[2], values(4, 6, 5, seed=0, dtype=np.int16)[2])
    assert_array_equal(open_images(tmp_path / "ct.h5", "val")[1], values(2, 6, 5, seed=1, dtype=np.int16)[1])
    assert len(train.take([3, 0])) == 2
    assert_array_equal(train.take([3, 0])[0], train[3])


def test_complex_hdf5_at_the_root(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = values(2, 6, 5) * (1 + 2j)
        file.attrs["modality"] = "MR"
    source = open_images(tmp_path / "a.h5")
    assert (source.kind, source.modality, source.subjects, source.parts) == ("complex", "MR", ["", ""], [])
    assert source[1].dtype == np.complex64
    assert_allclose(source[1], (values(2, 6, 5) * (1 + 2j))[1], rtol=1e-6)


def test_folder_of_hdf5_has_one_subject_per_file(tmp_path: Path) -> None:
    for part, name in (("train", "a"), ("train", "b"), ("val", "c")):
        (tmp_path / part).mkdir(exist_ok=True)
        with h5py.File(tmp_path / part / f"{name}.h5", "w") as file:
            file["images"] = values(2, 6, 5)
    source = open_images(tmp_path, "train")
    assert source.subjects == ["a", "a", "b", "b"]


def _send_second(source: ImageSource, connection: Any) -> None:
    connection.send((os.getpid(), float(source[1].sum())))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the risk of fork is what is tested
def test_forked_workers_open_their_own_handle(tmp_path: Path) -> None:
    source = open_images(write_hdf5(tmp_path / "ct.h5"))
    wanted = float(source[1].sum())  # the handle is open when the worker starts
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    worker = context.Process(target=_send_second, args=(source, there))
    worker.start()
    process, found = here.recv()
    worker.join()
    assert (process != os.getpid(), found) == (True, wanted)
    assert float(source[0].sum()) > 0, "the handle here still works"


def test_spawned_workers_open_their_own_handle(tmp_path: Path) -> None:
    source = open_images(write_hdf5(tmp_path / "ct.h5"))
    assert float(source[1].sum()) == float(pickle.loads(pickle.dumps(source))[1].sum())


def test_constant_slices_are_kept_and_counted(tmp_path: Path) -> None:
    stack = values(4, 6, 5)
    stack[2] = 0
    np.save(tmp_path / "a.npy", stack)
    source = open_images(tmp_path / "a.npy")
    assert "0 constant among 0 read" in source.describe()
    assert source.constant() == [2]
    assert source.describe() == "a.npy: 4 magnitude slices of 1 subject, 6 x 5; 1 constant among 4 read."
    assert len(source) == 4
    assert source.take([2, 3]).constant() == [0]


def test_fastmri_magnitude_and_complex(tmp_path: Path) -> None:
    for part, seed in (("train", 0), ("val", 5)):
        (tmp_path / f"multicoil_{part}").mkdir()
        write_synthetic_fastmri(tmp_path / f"multicoil_{part}" / "scan.h5", shape=(24, 20), coils=4, seed=seed)
    source = open_images(tmp_path)
    assert (source.parts, source.modality, source.kind, len(source)) == (["train", "val"], "MR", "magnitude", 4)
    train = open_images(tmp_path, "train")
    with h5py.File(tmp_path / "multicoil_train" / "scan.h5") as file:
        assert_allclose(train[1], file["reconstruction_rss"][1], rtol=1e-6)
        wanted = str(file.attrs["patient_id"])
    assert train.subjects == [wanted] * 2
    combined = open_images(tmp_path, "train", image="complex")
    assert combined.kind == "complex"
    bright = train[1] > 0.3 * train[1].max()
    # Where there is signal the maps have unit norm and explain the coils up to noise.
    assert_allclose(np.abs(combined[1])[bright], train[1][bright], rtol=0.05)


def test_fastmri_without_a_stored_image_and_with_oversampled_readout(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(sound.read_bytes())
    with h5py.File(path, "r+") as file:
        wanted = file["reconstruction_rss"][0]
        del file["reconstruction_rss"]
        header = file["ismrmrd_header"][()].decode()
        del file["ismrmrd_header"]
        head, recon = header.split("<reconSpace>")
        file["ismrmrd_header"] = head + "<reconSpace>" + recon.replace("<x>24</x>", "<x>12</x>")
    source = open_images(path)
    assert source.shapes[0] == (12, 21)
    assert_allclose(source[0], wanted[6:18], rtol=1e-4, atol=1e-6)


def test_undersampled_kspace_is_refused(tmp_path: Path) -> None:
    mask = torch.arange(20) % 2 == 0
    write_synthetic_fastmri(tmp_path / "a.h5", shape=(24, 20), coils=2, mask=mask)
    with pytest.raises(DataError, match="undersampled"):
        open_images(tmp_path / "a.h5")


def test_arrays_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    (tmp_path / "bob").mkdir()
    np.save(tmp_path / "ann" / "s1.npy", values(6, 5))
    np.savez_compressed(tmp_path / "ann" / "s2.npz", images=values(3, 4, 7, seed=1), other=np.zeros(3))
    matplotlib.image.imsave(tmp_path / "bob" / "s.png", values(5, 5, seed=2), cmap="gray")
    source = open_images(tmp_path)
    assert source.subjects == ["ann"] * 4 + ["bob"]
    assert source.shapes == [(6, 5), (4, 7), (4, 7), (4, 7), (5, 5)]
    assert_array_equal(source[3], values(3, 4, 7, seed=1)[2])
    assert 0 <= source[4].min() < source[4].max() <= 1
    assert "4 x 7 to 6 x 5 (3 sizes)" in source.describe()


@pytest.mark.parametrize(
    ("name", "single", "subject"),
    [
        ("p07_slice012.png", True, "p07"),
        ("p07-13.png", True, "p07"),
        ("IM0001.npy", True, ""),
        ("volume3.npy", False, "volume3"),
        ("ann/0001.png", True, "ann"),
        ("val/ann/0001.png", True, "ann"),
        ("brain.nii.gz", False, "brain"),
    ],
)
def test_subject_from_the_name(tmp_path: Path, name: str, single: bool, subject: str) -> None:
    assert subject_of(tmp_path, tmp_path / name, single_slice=single) == subject


def test_every_file_a_subject(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"IM{i}.npy", values(6, 5))
    assert open_images(tmp_path).subjects == [""] * 3
    assert open_images(tmp_path, subject="file").subjects == ["IM0", "IM1", "IM2"]


def write_dicom(path: Path, **changes: Any) -> Path:
    """A CT slice 6 x 5 of int16; a value of None removes the attribute."""
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    data = pydicom.Dataset()
    data.file_meta = meta
    content = {
        "PatientID": "ann",
        "Modality": "CT",
        "SeriesInstanceUID": "1.2",
        "InstanceNumber": 1,
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.7],
        "RescaleSlope": 2,
        "RescaleIntercept": -1000,
        "Rows": 6,
        "Columns": 5,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "PixelData": values(6, 5, dtype=np.int16).tobytes(),
    } | changes
    for name, value in content.items():
        if value is not None:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_series_is_sorted_and_scaled(tmp_path: Path) -> None:
    for name, z in (("a", 20), ("b", 0), ("c", 10)):  # no endings, and not in the order of the names
        pixels = values(6, 5, seed=z, dtype=np.int16)
        pixels[0, 0] = -2000
        write_dicom(
            tmp_path / name, ImagePositionPatient=[0, 0, z], PixelData=pixels.tobytes(), PixelPaddingValue=-2000
        )
    write_dicom(tmp_path / "d", PatientID="bob")
    write_dicom(tmp_path / "report", Rows=None, Columns=None, PixelData=None, Modality="SR")
    (tmp_path / "notes.txt").write_text("none")
    source = open_images(tmp_path)
    assert (source.modality, source.unit, source.subjects) == ("CT", "HU", ["ann", "ann", "ann", "bob"])
    assert source.spacings[0] == (0.5, 0.7)
    assert_allclose(source[1][1:], 2.0 * values(6, 5, seed=10, dtype=np.int16)[1:] - 1000)
    assert source[1][0, 0] == -1000, "pixels outside the circle are air"
    assert "2 other files left out" in source.describe()
    assert pickle.loads(pickle.dumps(source))[2].shape == (6, 5)


def test_dicom_frames(tmp_path: Path) -> None:
    frames = values(3, 6, 5, dtype=np.int16)
    path = write_dicom(tmp_path / "a.dcm", Modality="MR", NumberOfFrames=3, PixelData=frames.tobytes())
    source = open_images(path)
    assert (len(source), source.modality, source.unit) == (3, "MR", "")
    assert_allclose(source[2], 2.0 * frames[2] - 1000)


def write_nifti(path: Path, data: Array, slope: float = 1.0, intercept: float = 0.0) -> Path:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(data, np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_nifti_axes_and_scaling(tmp_path: Path, end: str) -> None:
    data = values(4, 5, 6, dtype=np.int16)
    nibabel = pytest.importorskip("nibabel")
    path = write_nifti(tmp_path / f"ann{end}", data, 0.5, -3.0)
    scaled = np.asarray(nibabel.load(path).dataobj)
    source = open_images(path, modality="MR")
    assert (len(source), source.subjects[0], source.modality) == (6, "ann", "MR")
    assert source.spacings[0] == (2.0, 3.0)
    assert_allclose(source[3], scaled[:, :, 3])
    across = open_images(path, axis=0)
    assert across.spacings[0] == (3.0, 4.0)
    assert_allclose(across[1], scaled[1])


def test_complex_nifti_keeps_its_imaginary_part(tmp_path: Path) -> None:
    data = (values(4, 5, 2) * (1 - 2j)).astype(np.complex64)
    source = open_images(write_nifti(tmp_path / "a.nii", data))
    assert source.kind == "complex"
    assert_allclose(source[1], data[:, :, 1])


def cut(path: Path, keep: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    return path


def truncated_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", values(3, 6, 5))
    return cut(folder / "a.npz")


def truncated_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", values(3, 6, 5))
    return cut(folder / "a.npy")


def rank_four(folder: Path) -> Path:
    np.save(folder / "a.npy", values(2, 3, 6, 5))
    return folder / "a.npy"


def pickled(folder: Path) -> Path:
    np.save(folder / "a.npy", np.array([{}], object), allow_pickle=True)
    return folder / "a.npy"


def several_arrays(folder: Path) -> Path:
    np.savez(folder / "a.npz", x=values(6, 5), y=values(6, 5))
    return folder / "a.npz"


def lying_npz(folder: Path) -> Path:
    """A header that declares more than the archive holds."""
    np.save(folder / "b.npy", values(2, 6, 5))
    content = (folder / "b.npy").read_bytes().replace(b"(2, 6, 5)", b"(9, 6, 5)")
    (folder / "b.npy").unlink()
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
    return folder / "a.npz"


def colour_png(folder: Path) -> Path:
    matplotlib.image.imsave(folder / "a.png", values(6, 5, 3) / 100)
    return folder / "a.png"


def not_a_png(folder: Path) -> Path:
    (folder / "a.png").write_bytes(b"GIF89a")
    return folder / "a.png"


def hdf5_rank(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["train/images"] = values(2, 3, 6, 5)
    return folder / "a.h5"


def hdf5_link(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["images"] = h5py.ExternalLink("other.h5", "images")
    return folder / "a.h5"


def hdf5_huge(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("images", (2**20, 2**15, 2**15), np.float32, chunks=(1, 64, 64))
    return folder / "a.h5"


def hdf5_subjects(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["images"], file["subject"] = values(3, 6, 5), np.array([b"a", b"b"])
    return folder / "a.h5"


def mixed_formats(folder: Path) -> Path:
    np.save(folder / "a.npy", values(6, 5))
    (folder / "b.nii").write_bytes(b"")
    return folder


def mixed_kinds(folder: Path) -> Path:
    np.save(folder / "a.npy", values(6, 5))
    np.save(folder / "b.npy", values(6, 5) * 1j)
    return folder


def dicom_without_pixels(folder: Path) -> Path:
    return write_dicom(folder / "a.dcm", PixelData=None)


def dicom_inverted(folder: Path) -> Path:
    return write_dicom(folder / "a.dcm", PhotometricInterpretation="MONOCHROME1")


def dicom_mixed(folder: Path) -> Path:
    write_dicom(folder / "a.dcm")
    write_dicom(folder / "b.dcm", Modality="MR")
    return folder


def no_dicom(folder: Path) -> Path:
    (folder / "a.dcm").write_bytes(b"\0" * 300)
    return folder / "a.dcm"


def truncated_nifti(folder: Path) -> Path:
    return cut(write_nifti(folder / "a.nii", values(6, 5, 4)))


def flat_nifti(folder: Path) -> Path:
    return write_nifti(folder / "a.nii", values(6, 5))


def series_nifti(folder: Path) -> Path:
    return write_nifti(folder / "a.nii", values(6, 5, 4, 3))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (truncated_npz, "cannot be read"),
        (truncated_npy, "cannot be read"),
        (rank_four, r"wanted numbers \(H, W\)"),
        (pickled, "cannot be read"),
        (several_arrays, "holds x, y. Name one with key="),
        (lying_npz, "declares"),
        (not_a_png, "not a PNG"),
        (hdf5_rank, r"wanted numbers \(N, H, W\)"),
        (hdf5_link, "external link"),
        (hdf5_huge, "over the budget"),
        (hdf5_subjects, "one entry for each"),
        (mixed_formats, "several formats"),
        (mixed_kinds, "real and complex"),
        (dicom_without_pixels, "without pixel data"),
        (dicom_inverted, "MONOCHROME1"),
        (dicom_mixed, "several modalities"),
        (no_dicom, "cannot be read"),
        (truncated_nifti, "truncated"),
        (flat_nifti, "wanted a volume"),
        (series_nifti, "split series"),
        (lambda folder: folder / "none", "does not exist"),
        (lambda folder: folder, "no images in a known format"),
    ],
)
def test_faults_found_at_opening(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    path = make(tmp_path)
    with pytest.raises(DataError, match=says) as found:
        open_images(path)
    assert str(tmp_path) in str(found.value)


def nan_npy(folder: Path) -> Path:
    stack = values(2, 6, 5)
    stack[0, 3, 2] = np.nan
    np.save(folder / "a.npy", stack)
    return folder / "a.npy"


def cut_gzip(folder: Path) -> Path:
    path = write_nifti(folder / "a.nii.gz", values(16, 16, 9))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:2000]))
    return path


def cut_dicom(folder: Path) -> Path:
    return write_dicom(folder / "a.dcm", PixelData=values(3, 5, dtype=np.int16).tobytes())


def damaged_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("images", data=values(2, 6, 5), fletcher32=True, chunks=(1, 6, 5))
        offset = file["images"].id.get_chunk_info(0).byte_offset
    content = bytearray((folder / "a.h5").read_bytes())
    content[offset + 7] ^= 1
    (folder / "a.h5").write_bytes(content)
    return folder / "a.h5"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (nan_npy, "slice 0: 1 of 30 values are NaN"),
        (colour_png, "colour image"),
        (cut_gzip, "no sound NIfTI"),
        (cut_dicom, "cannot be read"),
        (damaged_hdf5, "damaged"),
    ],
)
def test_faults_found_at_reading(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    path = make(tmp_path)
    source = open_images(path)
    with pytest.raises(DataError, match=says):
        source[0]


def test_usage(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "ct.h5")
    with pytest.raises(DataError, match="Did you mean 'train'"):
        open_images(path, "trian")
    with pytest.raises(DataError, match="Did you mean 'nifti'"):
        open_images(path, format="nifty")
    with pytest.raises(DataError, match="no option 'axis'"):
        open_images(path, axis=1)
    with pytest.raises(IndexError):
        open_images(path)[6]
    np.save(tmp_path / "a.npy", values(6, 5))
    with pytest.raises(DataError, match="no parts"):
        open_images(tmp_path / "a.npy", "train")


@pytest.mark.parametrize(("module", "name"), [("pydicom", "a.dcm"), ("nibabel", "a.nii")])
def test_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0" * 400)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"invdiff\[io\]"):
        open_images(tmp_path / name)


def test_changed_file_is_noticed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", values(6, 5))
    source = open_images(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", values(5, 6))
    with pytest.raises(DataError, match="open it again"):
        source[0]


def test_every_format_is_tested() -> None:
    assert set(FORMATS) == {"hdf5", "fastmri", "arrays", "dicom", "nifti"}
