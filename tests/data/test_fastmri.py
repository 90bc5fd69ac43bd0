"""Sound files give their content; every fault gives its own sentence with the place of it."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from invdiff.data.errors import DataError
from invdiff.data.kspace import group_by_shape, open_kspace
from invdiff.data.masks import cartesian_mask
from invdiff.data.synthetic import centred_ifft2, write_synthetic_fastmri

Altered = Callable[[Callable[[h5py.File], None]], Path]


def store(name: str, values: object, **options: object) -> Callable[[h5py.File], None]:
    """A change that replaces a dataset."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, data=values, **options)

    return change


def kspace_of(path: Path) -> np.ndarray:
    with h5py.File(path, "r") as file:
        return file["kspace"][()]


def read_all(path: Path, **options: Any) -> None:
    file = open_kspace(path, **options)
    for i in range(file.n_slices):
        file.kspace(i)
        file.reference(i)
        file.sampling(i)
    assert file.header is not None


def fault(path: Path, match: str, **options: Any) -> DataError:
    """The error that opening and reading all of a file ends in."""
    with pytest.raises(DataError, match=match) as caught:
        read_all(path, **options)
    assert str(path) in str(caught.value)
    assert caught.value.path == str(path)
    return caught.value


def test_a_sound_file_gives_its_content(sound: Path) -> None:
    file = open_kspace(sound)
    assert (file.shape, file.n_slices, file.mask, file.fully_sampled) == ((2, 3, 24, 21), 2, None, True)
    assert file.acquisition == "AXT1"
    assert isinstance(file.attrs["max"], float)
    assert file.header is not None
    assert file.header.padding == (0, 21)
    assert file.header.encoded == (24, 21, 1)
    kspace, reference = file.kspace(1), file.reference(1)
    assert kspace.dtype == torch.complex64
    assert np.array_equal(kspace.numpy(), kspace_of(sound)[1])
    assert reference is not None
    assert reference.dtype == torch.float32
    # float32 rounding of a transform of 500 points
    torch.testing.assert_close(centred_ifft2(kspace).abs().square().sum(0).sqrt(), reference, rtol=1e-5, atol=1e-6)
    assert pickle.loads(pickle.dumps(file)).kspace(0).shape == (3, 24, 21)


def test_a_test_file_gives_its_mask(tmp_path: Path) -> None:
    mask = cartesian_mask(21, 3, 4)
    file = open_kspace(write_synthetic_fastmri(tmp_path / "test.h5", shape=(24, 21), mask=mask))
    assert file.mask is not None
    assert torch.equal(file.mask, mask)
    assert not file.fully_sampled
    assert file.reference(0) is None
    assert isinstance(file.attrs["num_low_frequency"], int)
    assert file.status(0) == "ok"
    assert bool((file.kspace(0)[..., ~mask] == 0).all())


def test_empty_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"")
    fault(path, r"empty \(0 bytes\)")
    path.write_bytes(b"nothing of that kind")
    fault(path, r"not an HDF5 file \(20 bytes\)")
    fault(tmp_path / "absent.h5", "does not exist")
    fault(tmp_path, "is a folder")


def test_truncated_download_names_both_sizes(sound: Path, tmp_path: Path) -> None:
    whole = sound.read_bytes()
    path = tmp_path / "part.h5"
    path.write_bytes(whole[: len(whole) // 2])
    fault(path, f"{len(whole) // 2} of {len(whole)} bytes are here; download again")


def test_flipped_bits_under_a_checksum(altered: Altered) -> None:
    values = np.full((2, 3, 8, 8), 1.2345 + 2j, np.complex64)
    path = altered(store("kspace", values, fletcher32=True, chunks=(1, 3, 8, 8)))
    content = bytearray(path.read_bytes())
    content[content.index(values[0].tobytes()) + 5] ^= 1
    path.write_bytes(content)
    fault(path, "damaged")


def test_declared_size_beyond_the_budget(altered: Altered, tmp_path: Path) -> None:
    def huge(file: h5py.File) -> None:
        del file["kspace"]
        file.create_dataset("kspace", (10**4, 100, 10**4, 10**5), np.complex64, chunks=(1, 1, 100, 100))

    def wide(file: h5py.File) -> None:
        del file["kspace"]
        file.create_dataset("kspace", (2, 1, 64, 64), np.complex64, chunks=(1, 1, 2**15, 2**13), maxshape=(None,) * 4)

    fault(altered(wide), r"\(2147483648 per read\)", budget=2**30)  # a chunk is unpacked whole
    path = altered(huge)
    assert path.stat().st_size < 10**5
    fault(path, r"declares 8000000000000000 bytes .* stores 0, over the budget")


def test_compression_bomb(altered: Altered) -> None:
    path = altered(store("kspace", np.zeros((2, 8, 128, 128), np.complex64), chunks=True, compression="gzip"))
    assert open_kspace(path).status(0) == "empty"  # small enough to read whatever it unpacks to
    fault(path, r"declares 2097152 bytes \(1048576 per read\)", budget=2 * 10**6)  # unpacks beyond belief
    fault(path, "budget of 100000 bytes", budget=10**5)
    noise = np.random.default_rng(0).standard_normal((2, 8, 64, 64)).astype(np.complex64)
    path = altered(store("kspace", noise, chunks=True, compression="gzip"))
    assert open_kspace(path, budget=3 * 10**5).status(0) == "ok"  # negative control: a file larger than one read
    fault(path, "262144 per read", budget=2 * 10**5)


def test_external_link_soft_link_and_foreign_storage(altered: Altered, sound: Path, tmp_path: Path) -> None:
    def link(target: object) -> Callable[[h5py.File], None]:
        def change(file: h5py.File) -> None:
            del file["kspace"]
            file["kspace"] = target

        return change

    fault(altered(link(h5py.ExternalLink(str(sound), "kspace"))), "external link")
    fault(altered(link(h5py.SoftLink("/reconstruction_rss"))), "soft link")
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"x" * 8 * 2 * 64)

    def external(file: h5py.File) -> None:
        del file["kspace"]
        file.create_dataset("kspace", (2, 1, 8, 8), np.complex64, external=[(str(secret), 0, 1024)])

    def virtual(file: h5py.File) -> None:
        del file["kspace"]
        layout = h5py.VirtualLayout((2, 3, 24, 21), np.complex64)
        layout[:] = h5py.VirtualSource(str(sound), "kspace", (2, 3, 24, 21))
        file.create_virtual_dataset("kspace", layout)

    fault(altered(external), "in other files")
    fault(altered(virtual), "in other files")


def test_missing_key_lists_what_is_there_and_guesses_the_format(altered: Altered, tmp_path: Path) -> None:
    error = fault(altered(lambda f: f.__delitem__("kspace")), "it holds ismrmrd_header, reconstruction_rss")
    assert error.dataset == "kspace"
    for name, key, guess in (("m", "dataset/data", "ISMRMRD"), ("l", "data", "LoDoPaB"), ("n", None, "holds nothing")):
        with h5py.File(tmp_path / name, "w") as file:
            if key:
                file[key] = np.zeros(3)
        fault(tmp_path / name, guess)


def test_header_malformed_bomb_and_absent(altered: Altered) -> None:
    path = altered(store("ismrmrd_header", np.bytes_(b"<a><b></a>")))
    assert open_kspace(path).kspace(0).shape == (3, 24, 21)  # k-space does not need the header
    assert fault(path, "not well-formed XML.*crop size").dataset == "ismrmrd_header"
    bomb = b'<!DOCTYPE a [<!ENTITY b "ha">]><a>&b;</a>'
    fault(altered(store("ismrmrd_header", np.bytes_(bomb))), "document type")
    assert open_kspace(altered(lambda f: f.__delitem__("ismrmrd_header"))).header is None


@pytest.mark.parametrize("dtype", [">c8", "<c16", ">c16"])
def test_other_precision_and_byte_order_are_converted(altered: Altered, sound: Path, dtype: str) -> None:
    values = kspace_of(sound)
    file = open_kspace(altered(store("kspace", values.astype(dtype))))
    assert np.array_equal(file.kspace(1).numpy(), values[1])


@pytest.mark.parametrize("names", [("real", "imag"), ("r", "i"), ("im", "re")])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_compound_fields_are_converted(
    altered: Altered, sound: Path, names: tuple[str, str], kind: type[np.generic]
) -> None:
    values = np.round(kspace_of(sound) * 100)
    stored = np.zeros(values.shape, [(n, kind) for n in names])
    for name in names:
        stored[name] = values.real if name.startswith("r") else values.imag
    assert np.array_equal(open_kspace(altered(store("kspace", stored))).kspace(0).numpy(), values[0])


def test_pairs_need_a_word(altered: Altered, sound: Path) -> None:
    values = kspace_of(sound)
    path = altered(store("kspace", np.stack([values.real, values.imag], -1)))
    fault(path, "pass pairs=True")
    assert np.array_equal(open_kspace(path, pairs=True).kspace(0).numpy(), values[0])
    fault(altered(store("kspace", np.abs(values))), "not complex")
    fault(altered(store("kspace", values)), "pairs=True wants real", pairs=True)
    fault(altered(store("kspace", np.zeros((1, 1, 4, 4), [("a", "f4"), ("b", "f4")]))), "compound of")


def test_three_axes_need_evidence_or_a_word(altered: Altered, sound: Path, tmp_path: Path) -> None:
    values = kspace_of(sound)
    path = altered(store("kspace", values[0]))
    fault(path, "axes='slices' if it is single-coil .* axes='coils'")
    with pytest.raises(DataError, match=r"reconstruction_rss.*wanted real \(3, h, w\)"):
        open_kspace(path, axes="slices")
    one = altered(lambda f: (store("kspace", values[0])(f), f.__delitem__("reconstruction_rss"))[0])
    assert open_kspace(one, axes="coils").shape == (1, 3, 24, 21)
    assert np.array_equal(open_kspace(one, axes="coils").kspace(0).numpy(), values[0])
    assert np.array_equal(open_kspace(one, axes="slices").kspace(2).numpy(), values[0, 2:])
    (tmp_path / "singlecoil_test").mkdir()
    moved = one.rename(tmp_path / "singlecoil_test" / "a.h5")
    assert open_kspace(moved).shape == (3, 1, 24, 21)
    fault(altered(store("kspace", values)), "is for 3-D arrays", axes="coils")
    fault(altered(store("kspace", values[0, 0])), "wanted .slices, coils, h, w")
    fault(altered(store("kspace", values[:, :, :0])), "empty shape")


def test_single_coil_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = write_synthetic_fastmri(tmp_path / "s.h5", shape=(20, 17), single_coil=True, slices=3)
    file = open_kspace(path)
    assert file.shape == (3, 1, 20, 17)
    assert file.reference_name == "reconstruction_esc"
    assert file.kspace(2).shape == (1, 20, 17)


def test_files_are_grouped_by_shape(sound: Path, tmp_path: Path) -> None:
    other = write_synthetic_fastmri(tmp_path / "o.h5", shape=(24, 20), coils=3)
    groups = group_by_shape(open_kspace(p) for p in (sound, other, sound))
    assert {shape: len(files) for shape, files in groups.items()} == {(3, 24, 21): 2, (3, 24, 20): 1}


def test_all_zero_slice_is_empty_and_no_error(altered: Altered) -> None:
    file = open_kspace(altered(lambda f: f["kspace"].__setitem__(0, 0)))
    assert file.status(0) == "empty"
    assert file.status(1) == "ok"
    assert not bool(file.kspace(0).any())


@pytest.mark.parametrize("value", [np.nan, np.inf, complex(0, -np.inf)])
def test_non_finite_values_are_counted_and_located(altered: Altered, value: complex) -> None:
    path = altered(lambda f: f["kspace"].__setitem__((1, 2, 3, slice(4, 6)), value))
    open_kspace(path).kspace(0)
    error = fault(path, r"2 of 1512 values are NaN.*first at \(2, 3, 4\)")
    assert (error.slice, error.dataset) == (1, "kspace")
    restored = pickle.loads(pickle.dumps(error))
    assert (str(restored), restored.slice, restored.path) == (str(error), 1, str(path))


def test_non_finite_points_are_dropped_on_request(altered: Altered, sound: Path) -> None:
    path = altered(lambda f: f["kspace"].__setitem__((1, 2, 3, slice(4, 6)), np.nan))
    file, whole = open_kspace(path, repair=True), kspace_of(sound)
    assert bool(file.sampling(0).all())
    assert torch.nonzero(~file.sampling(1)).tolist() == [[3, 4], [3, 5]]  # all coils lose a point
    wanted = whole[1].copy()
    wanted[:, 3, 4:6] = 0
    assert np.array_equal(file.kspace(1).numpy(), wanted)


def test_values_beyond_float32_and_bad_references(altered: Altered, sound: Path) -> None:
    fault(altered(store("kspace", np.full((2, 1, 4, 4), 1e300 + 0j))), "beyond float32")
    assert fault(altered(lambda f: f["reconstruction_rss"].__setitem__(0, np.nan)), "NaN").slice == 0
    fault(altered(store("reconstruction_rss", np.zeros((3, 8, 8)))), r"wanted real \(2, h, w\)")


def test_data_outside_the_mask(altered: Altered) -> None:
    mask = np.zeros(21, np.float32)
    mask[5:15] = 1

    def change(file: h5py.File) -> None:
        file["mask"] = mask
        file["kspace"][:, :, :, 16:] = 0
        file["kspace"][:, :, :, :5] = 0

    path = altered(change)
    assert fault(path, r"72 of 792 values outside the mask \(9.1%\).*infer_mask=True").slice == 0
    found = open_kspace(path, infer_mask=True)
    assert found.mask is None
    assert torch.nonzero(found.sampling(0))[:, 0].tolist() == list(range(5, 16))
    assert not found.fully_sampled
    assert found.kspace(0).shape == (3, 24, 21)
    fault(altered(lambda f: f["kspace"].__setitem__(..., 0)), "no mask can be inferred", infer_mask=True)


def test_masks_of_points_are_read_and_inferred(altered: Altered) -> None:
    mask = np.random.default_rng(0).random((24, 21)) < 0.5

    def change(file: h5py.File) -> None:
        file["mask"] = mask.astype(np.uint8)
        file["kspace"][...] = np.where(mask, file["kspace"][()], 0)

    path = altered(change)
    for infer in (False, True):
        found = open_kspace(path, infer_mask=infer).sampling(1)
        assert np.array_equal(found.numpy(), mask)


def test_zeros_between_measured_columns_need_a_mask(altered: Altered, sound: Path) -> None:
    """Undersampled k-space without its mask is not taken for a fully sampled scan; zeros at the edges pad one."""
    full = kspace_of(sound)
    lines, scattered, padded = full.copy(), full.copy(), full.copy()
    lines[..., 5] = 0
    assert "1 of 21 columns" in str(fault(altered(store("kspace", lines)), "infer_mask=True"))
    scattered[..., (np.indices((24, 21)).sum(0) % 2).astype(bool)] = 0
    assert "50% of the points" in str(fault(altered(store("kspace", scattered)), "infer_mask=True"))
    padded[..., :3] = padded[..., -2:] = padded[..., :4, :] = 0
    assert bool(open_kspace(altered(store("kspace", padded))).sampling(0).all())
    columns = open_kspace(altered(store("kspace", lines)), infer_mask=True).sampling(0)
    assert columns.tolist() == [k != 5 for k in range(21)]


def test_negative_zeros_lose_their_sign_where_masked(altered: Altered) -> None:
    mask = np.arange(21) % 2 == 0

    def change(file: h5py.File) -> None:
        file["mask"] = mask
        values = file["kspace"][()]
        file["kspace"][...] = np.where(mask, values, np.complex64(complex(-0.0, -0.0)))

    path = altered(change)
    assert np.signbit(kspace_of(path)[..., ~mask].real).all()
    kspace = open_kspace(path).kspace(0)[..., torch.from_numpy(~mask)]
    assert not bool(torch.view_as_real(kspace).signbit().any())


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (np.ones(20), r"wanted a mask of shape \(21,\) or \(24, 21\), got \(20,\)"),
        (np.ones((21, 24)), "wanted a mask of shape"),
        (np.linspace(0, 1, 21), "19 values are neither 0 nor 1"),
        (np.full(21, np.nan), "21 values are neither"),
        (np.zeros(21, bool), "all zero"),
        (np.array([b"1"] * 21), "wanted bool or 0 and 1"),
    ],
)
def test_bad_masks(altered: Altered, mask: np.ndarray, match: str) -> None:
    assert fault(altered(store("mask", mask)), match).dataset == "mask"


@pytest.mark.parametrize("mask", [np.ones(21, bool), np.ones(21, np.int64), np.ones((1, 21), ">f8"), np.ones((24, 21))])
def test_good_masks_of_any_type(altered: Altered, mask: np.ndarray) -> None:
    file = open_kspace(altered(store("mask", mask)))
    assert file.mask is not None
    assert file.mask.dtype == torch.bool
    assert file.fully_sampled


def test_numbers_stored_as_text_and_missing_attributes(altered: Altered) -> None:
    def change(file: h5py.File) -> None:
        file.attrs["max"] = np.bytes_(b"0.25")
        file.attrs["num_low_frequency"] = "8.0"
        file.attrs["norm"] = "unknown"
        del file.attrs["acquisition"]

    file = open_kspace(altered(change))
    assert (file.attrs["max"], file.attrs["num_low_frequency"], file.attrs["norm"]) == (0.25, 8, "unknown")
    assert file.acquisition is None


def test_slices_out_of_range(sound: Path) -> None:
    for i in (-1, 2):
        with pytest.raises(DataError, match=f"slice {i} does not exist; there are 2"):
            open_kspace(sound).kspace(i)
