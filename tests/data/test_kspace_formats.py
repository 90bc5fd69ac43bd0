"""Every format gives the k-space that was written, slice by slice, and says what it cannot read."""

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from invdiff.data.errors import DataError
from invdiff.data.formats import FORMATS
from invdiff.data.kspace import open_kspace
from invdiff.data.synthetic import centred_ifft2, write_synthetic_fastmri
from invdiff.data.volume import readout_to_space, space_to_readout
from tests.data.raw import acquisition, example, rows_of, write_ismrmrd, write_matlab, write_skmtea

KSPACE = example()


def write_arrays(path: Path) -> Path:
    np.savez_compressed(path, kspace=KSPACE, maps=KSPACE * 2)
    return path


def write_npy(path: Path) -> Path:
    np.save(path, KSPACE.astype(np.complex128))
    return path


def write_bart(path: Path) -> Path:
    """Axes 0, 1, coil 3, slice 13, first axis fastest."""
    dims = [16, 12, 1, 3, *[1] * 9, 2, 1, 1]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, dims)) + "\n# Command\nnone\n")
    path.write_bytes(np.moveaxis(KSPACE, (2, 3, 1, 0), (0, 1, 2, 3)).tobytes(order="F"))
    return path


def write_old_matlab(path: Path) -> Path:
    from scipy.io import savemat

    savemat(path, {"kspace": np.moveaxis(KSPACE, (2, 3, 1, 0), (0, 1, 2, 3))[..., None], "b": np.ones(3)})
    return path


def write_fastmri(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = KSPACE
        file["maps"] = 2 * KSPACE
    return path


FILES: dict[str, tuple[str, Any]] = {
    "fastmri": ("scan.h5", write_fastmri),
    "ismrmrd": ("scan.h5", write_ismrmrd),
    "skm-tea": ("scan.h5", write_skmtea),
    "matlab": ("scan.mat", write_matlab),
    "old matlab": ("scan.mat", write_old_matlab),
    "bart": ("scan.cfl", write_bart),
    "arrays": ("scan.npz", write_arrays),
    "npy": ("scan.npy", write_npy),
}
OPTIONS: dict[str, dict[str, Any]] = {"skm-tea": {"echo": 1}}


def test_every_format_is_tried_here() -> None:
    assert set(FORMATS) <= set(FILES)


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("kind", FILES)
def test_what_was_written_is_read(tmp_path: Path, kind: str, isolated: bool) -> None:
    name, write = FILES[kind]
    file = open_kspace(write(tmp_path / name), isolated=isolated, **OPTIONS.get(kind, {}))
    assert file.format == kind.split()[-1].replace("npy", "arrays")
    assert (file.shape, file.n_slices) == ((2, 3, 16, 12), 2)
    for i in range(2):
        # stored values; ISMRMRD's pass through nothing but a sum of one term
        assert np.array_equal(file.kspace(i).numpy(), KSPACE[i])
        assert bool(file.sampling(i).all())
        assert file.kspace(i).dtype == torch.complex64
    assert file.fully_sampled
    assert file.status(0) == "ok"
    assert np.array_equal(pickle.loads(pickle.dumps(file)).kspace(1).numpy(), KSPACE[1])
    with pytest.raises(DataError, match="slice 2 does not exist"):
        file.kspace(2)


@pytest.mark.parametrize("kind", ["matlab", "bart", "arrays", "ismrmrd", "skm-tea"])
def test_zeros_tell_what_was_not_sampled(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kspace = KSPACE.copy()
    kspace[0, ..., 1::2] = 0
    monkeypatch.setattr(f"{__name__}.KSPACE", kspace)
    name, write = FILES[kind]
    if kind in ("arrays", "bart"):
        path = write(tmp_path / name)
    else:
        rows = rows_of(kspace[:1], range(0, 12, 2)) + [
            row for row in rows_of(kspace) if row["head"]["idx"]["slice"] == 1
        ]
        path = write(tmp_path / name, rows if kind == "ismrmrd" else kspace)
    file = open_kspace(path, **OPTIONS.get(kind, {}))
    assert torch.nonzero(file.sampling(0))[:, 0].tolist() == list(range(0, 12, 2))
    assert bool(file.sampling(1).all())
    assert np.array_equal(file.kspace(0).numpy(), kspace[0])


def test_foreign_names_and_options_get_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "meas.dat").write_bytes(b"x")
    with pytest.raises(DataError, match="siemens_to_ismrmrd"):
        open_kspace(tmp_path / "meas.dat")
    (tmp_path / "a.dcm").touch()
    with pytest.raises(DataError, match="holds images, not k-space"):
        open_kspace(tmp_path / "a.dcm")
    with pytest.raises(TypeError, match="fastmri files have no option 'echo'"):
        open_kspace(write_fastmri(tmp_path / "f.h5"), echo=1)
    with pytest.raises(ValueError, match=r"no k-space format 'bert'.*'bart'"):
        open_kspace(tmp_path / "f.h5", "bert")
    for name in ("gone.npy", "gone.npz", "gone.mat", "gone.cfl", "gone"):
        with pytest.raises(DataError, match=r"gone.*(does not exist|cannot be opened)"):
            open_kspace(tmp_path / name)


def test_stored_maps_references_and_header_facts(tmp_path: Path) -> None:
    for kind in ("fastmri", "arrays"):
        name, write = FILES[kind]
        maps = open_kspace(write(tmp_path / name)).maps(1)
        assert maps is not None
        assert np.array_equal(maps.numpy(), 2 * KSPACE[1])
    file = open_kspace(write_skmtea(tmp_path / "s.h5"), echo=1)
    maps, reference = file.maps(0), file.reference(1)
    assert maps is not None
    assert reference is not None
    assert torch.equal(maps, torch.full((3, 16, 12), 3**-0.5, dtype=torch.complex64))
    assert np.allclose(reference.numpy(), np.abs(KSPACE[1, 0]), rtol=1e-6)
    assert file.contents.notes == ("echo 1 of 2",)
    with pytest.raises(DataError, match="has 2 echoes"):
        open_kspace(tmp_path / "s.h5", echo=2)
    assert open_kspace(write_synthetic_fastmri(tmp_path / "f.h5", slices=1, coils=2)).crop == (48, 40)


def test_stored_maps_that_do_not_fit(tmp_path: Path) -> None:
    for maps, match in (
        (KSPACE[:, :2], r"maps.*are \(2, 2, 16, 12\), where k-space is \(2, 3, 16, 12\)"),
        (np.abs(KSPACE), "maps.*not complex"),
        (KSPACE * np.nan, "maps.*are NaN"),
    ):
        for name in ("m.h5", "m.npz"):
            path = tmp_path / name
            if name == "m.npz":
                np.savez(path, kspace=KSPACE, maps=maps)
            else:
                with h5py.File(path, "w") as file:
                    file["kspace"], file["maps"] = KSPACE, maps
            with pytest.raises(DataError, match=match):
                open_kspace(path).maps(0)


# ISMRMRD


def test_ismrmrd_facts(tmp_path: Path) -> None:
    file = open_kspace(write_ismrmrd(tmp_path / "a.h5"))
    header, geometry = file.header, file.geometry
    assert header is not None
    assert geometry is not None
    assert (header.vendor, header.field_strength, header.echo_time, header.flip_angle) == ("ACME", 2.89, 4.1, 15)
    assert (header.protocol, header.patient_position) == ("flash", "HFS")
    assert geometry.spacing == (10.0, 10.0, 6.0)  # slices lie 6 mm apart, 5 mm thick
    assert geometry.directions == ((0, 1, 0), (1, 0, 0), (0, 0, 1))
    assert geometry.centre == (1.0, 2.0, 0.0)
    assert file.noise() is None


def test_ismrmrd_noise_navigators_and_calibration_are_no_image(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 3, 20)).astype(np.float32) + 0j
    line = np.full((3, 16), 9 + 9j)
    extra = [acquisition(n, flags=(19,)) for n in noise]
    extra += [acquisition(line, flags=(flag,), kspace_encode_step_1=4) for flag in (20, 23, 24, 27)]
    extra += [acquisition(line, encoding_space_ref=1)]
    file = open_kspace(write_ismrmrd(tmp_path / "a.h5", extra + rows_of(KSPACE)))
    assert np.array_equal(file.kspace(1).numpy(), KSPACE[1])
    stored = file.noise()
    assert stored is not None
    assert np.array_equal(stored.numpy(), np.concatenate(list(noise), axis=1).astype(np.complex64))
    notes = " ".join(file.contents.notes)
    for said in ("2 noise", "3 navigator", "1 separate calibration", "1 acquisitions of a second encoding"):
        assert said in notes


def test_ismrmrd_frames_averages_reversed_and_partial_lines(tmp_path: Path) -> None:
    doubled = rows_of(KSPACE, average=0) + rows_of(3 * KSPACE, average=1)
    assert np.allclose(open_kspace(write_ismrmrd(tmp_path / "a.h5", doubled)).kspace(1), 2 * KSPACE[1], rtol=1e-6)
    frames = rows_of(KSPACE, repetition=1) + rows_of(5 * KSPACE)
    file = open_kspace(write_ismrmrd(tmp_path / "f.h5", frames))
    assert file.n_slices == 4
    assert np.array_equal(file.kspace(0).numpy(), 5 * KSPACE[0])
    assert np.array_equal(file.kspace(3).numpy(), KSPACE[1])
    turned = rows_of(KSPACE[..., ::-1, :], flags=(22,))
    assert np.array_equal(open_kspace(write_ismrmrd(tmp_path / "r.h5", turned)).kspace(1).numpy(), KSPACE[1])
    partial = rows_of(KSPACE[:, :, 5:], center_sample=3)
    file = open_kspace(write_ismrmrd(tmp_path / "p.h5", partial, seen=(80, 120, 5)))
    assert file.shape == (2, 3, 16, 12)  # oversampling stays where the echo is partial
    assert np.array_equal(file.kspace(1).numpy()[:, 5:], KSPACE[1, :, 5:])
    assert torch.nonzero(file.sampling(0).all(1))[:, 0].tolist() == list(range(5, 16))
    cut = rows_of(np.pad(KSPACE, [(0, 0), (0, 0), (2, 1), (0, 0)], constant_values=7), discard_pre=2, discard_post=1)
    assert np.array_equal(open_kspace(write_ismrmrd(tmp_path / "d.h5", cut)).kspace(1).numpy(), KSPACE[1])


@pytest.mark.parametrize("h", [16, 15])
def test_ismrmrd_oversampling_is_removed_in_image_space(tmp_path: Path, h: int) -> None:
    small = example(shape=(h, 12))
    image = readout_to_space(small, 2)
    wide = np.zeros((2, 3, 2 * h, 12), np.complex64)
    wide[:, :, h - h // 2 : h - h // 2 + h] = image
    path = write_ismrmrd(
        tmp_path / "a.h5",
        rows_of(space_to_readout(wide, 2)),
        n=(2 * h, 12, 1),
        fov=(20 * h, 120, 5),
        seen=(10 * h, 90, 5),
    )
    file = open_kspace(path)
    assert file.shape == (2, 3, h, 12)
    # two transforms of a few tens of points in float32
    assert np.allclose(file.kspace(1).numpy(), small[1], atol=1e-6 * np.abs(small).max() * h)
    assert file.crop == (h, 9)
    assert "oversampling removed" in " ".join(file.contents.notes)


def test_ismrmrd_three_dimensions_become_slices_along_the_readout(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).standard_normal((3, 16, 12, 5, 2)).astype(np.float32).view(np.complex64)[..., 0]
    rows = [
        acquisition(volume[:, :, y, z], kspace_encode_step_1=y, kspace_encode_step_2=z)
        for y in range(12)
        for z in range(5)
        if (y + z) % 2
    ]
    file = open_kspace(write_ismrmrd(tmp_path / "v.h5", rows, n=(16, 12, 5), fov=(160, 120, 25)))
    assert file.shape == (16, 3, 12, 5)
    y, z = np.indices((12, 5))
    wanted = np.where((y + z) % 2, readout_to_space(volume, 1)[:, 7], 0)
    assert np.allclose(file.kspace(7).numpy(), wanted, atol=1e-6)
    assert np.array_equal(file.sampling(7).numpy(), (y + z) % 2 == 1)


@pytest.mark.parametrize(
    ("rows", "header", "match"),
    [
        (None, {"trajectory": "radial"}, "is a radial scan and no Cartesian one"),
        (None, {"n": (16, 10, 1)}, r"kspace_encode_step_1 runs from -1 to 10 on a grid of 10"),
        (None, {"n": (8, 12, 1)}, "does not fit a grid of 8"),
        ([acquisition(np.ones((3, 16)), flags=(19,))], {}, "none of an image"),
        (rows_of(KSPACE) + rows_of(KSPACE[:, :2]), {}, "acquisitions of 2, 3 coils"),
        (rows_of(KSPACE, number_of_samples=15), {}, "its header says 3 coils x 15"),
        ([], {}, "it lacks rows"),
    ],
)
def test_ismrmrd_faults(tmp_path: Path, rows: Any, header: dict[str, Any], match: str) -> None:
    path = write_ismrmrd(tmp_path / "a.h5", rows, **header)
    with pytest.raises(DataError, match=match) as caught:
        open_kspace(path).kspace(0)
    assert str(path) in str(caught.value)


def test_ismrmrd_group_names(tmp_path: Path) -> None:
    path = write_ismrmrd(tmp_path / "a.h5", group="scan")
    assert open_kspace(path).format == "ismrmrd"
    with h5py.File(path, "r+") as file:
        file.copy("scan", "other")
    with pytest.raises(DataError, match="it holds other, scan"):
        open_kspace(path)
    assert open_kspace(path, "ismrmrd", group="other").n_slices == 2
    with h5py.File(path, "r+") as file:
        file["scan/xml"][0] = "<broken"
    with pytest.raises(DataError, match="not well-formed"):
        open_kspace(path, "ismrmrd", group="scan")


def test_ismrmrd_as_its_own_package_writes_it(tmp_path: Path) -> None:
    ismrmrd = pytest.importorskip("ismrmrd")
    own = write_ismrmrd(tmp_path / "own.h5")
    with h5py.File(own) as file:
        xml = file["dataset/xml"][0]
    path = tmp_path / "package.h5"
    dataset = ismrmrd.Dataset(path, "dataset", create_if_needed=True)
    dataset.write_xml_header(xml)
    for i, slice_ in enumerate(KSPACE):
        for k in range(12):
            line = ismrmrd.Acquisition.from_array(np.ascontiguousarray(slice_[:, :, k]))
            line.idx.kspace_encode_step_1, line.idx.slice, line.center_sample = k, i, 8
            dataset.append_acquisition(line)
    noise = ismrmrd.Acquisition.from_array(np.full((3, 20), 2 + 1j, np.complex64))
    noise.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    dataset.append_acquisition(noise)
    dataset.close()
    file = open_kspace(path)
    assert np.array_equal(file.kspace(1).numpy(), KSPACE[1])
    stored = file.noise()
    assert stored is not None
    assert torch.equal(stored, torch.full((3, 20), 2 + 1j))


# BART, MATLAB, arrays


def test_bart_by_any_name_and_with_maps(tmp_path: Path) -> None:
    path = write_bart(tmp_path / "scan.v1.cfl")
    maps = write_bart(tmp_path / "scan.v1_maps.cfl")
    for name in (path, path.with_suffix(".hdr"), path.with_suffix("")):
        file = open_kspace(name)
        assert np.array_equal(file.kspace(1).numpy(), KSPACE[1])
        assert np.array_equal(file.maps(1).numpy(), KSPACE[1])  # type: ignore[union-attr]
    text = maps.with_suffix(".hdr").read_text()
    maps.with_suffix(".hdr").write_text(text.replace("16 12 1 3", "12 16 1 3"))
    with pytest.raises(DataError, match="take the maps of this scan"):
        open_kspace(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("# Dimensions\n16 12 1 2\n", r"holds 9216 bytes, where scan\.hdr declares 3072"),
        ("# Dimensions\n16 12 -1 2\n", "no line of positive sizes"),
        ("# Dimensions\n" + "1 " * 17, "no line of positive sizes"),
        ("# Dimensions", "no line of positive sizes"),
        ("# Dimensions\n99999999 99999999 99999999 9\n", "declares 7199999784000002159"),
        ("# Dimensions\n16 12 1 3 2\n", "2 sets of maps"),
    ],
)
def test_bart_faults(tmp_path: Path, text: str, match: str) -> None:
    path = write_bart(tmp_path / "scan.cfl")
    path.with_suffix(".hdr").write_text(text)
    with pytest.raises(DataError, match=match):
        open_kspace(path)


def test_bart_volumes(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).standard_normal((4, 6, 5, 3, 2)).astype(np.float32).view(np.complex64)[..., 0]
    volume[:, 1] = 0
    path = tmp_path / "v.cfl"
    path.with_suffix(".hdr").write_text("# Dimensions\n4 6 5 3\n")
    path.write_bytes(volume.tobytes(order="F"))
    file = open_kspace(path)
    assert file.shape == (4, 3, 6, 5)
    wanted = np.moveaxis(readout_to_space(volume, 0)[2], -1, 0)
    assert np.allclose(file.kspace(2).numpy(), wanted, atol=1e-6)
    assert not bool(file.sampling(2)[1].any())
    volume[0, 2, 2] = 0
    path.write_bytes(volume.tobytes(order="F"))
    with pytest.raises(DataError, match=r"read-out .* is not fully sampled"):
        open_kspace(path).kspace(0)


def test_matlab_names_and_axes(tmp_path: Path) -> None:
    from scipy.io import savemat

    single = write_matlab(tmp_path / "s.mat", KSPACE, "kspace_single_full")
    with h5py.File(single, "r+") as file:
        values = file["kspace_single_full"][:, :, 0]
        del file["kspace_single_full"]
        file["kspace_single_full"] = values
    found = open_kspace(single)
    assert found.shape == (2, 1, 16, 12)
    assert np.array_equal(found.kspace(1)[0].numpy(), KSPACE[1, 0])
    old = tmp_path / "o.mat"
    savemat(old, {"kspace": np.moveaxis(KSPACE[0], 0, -1)})
    with pytest.raises(DataError, match="pass axes='coils'"):
        open_kspace(old)
    assert np.array_equal(open_kspace(old, axes="coils").kspace(0).numpy(), KSPACE[0])
    assert np.array_equal(open_kspace(old, axes="slices").kspace(2)[0].numpy(), KSPACE[0, 2])
    savemat(old, {"kspace": np.ones((4, 4)), "kus": np.ones((4, 4)) + 1j})
    with pytest.raises(DataError, match="found kspace, kus; pass key="):
        open_kspace(old)
    assert open_kspace(old, key="kus").kspace(0).shape == (1, 4, 4)
    with pytest.raises(DataError, match="not complex"):
        open_kspace(old, key="kspace").kspace(0)
    savemat(old, {"kspace": np.ones((64, 64)) + 1j}, do_compression=True)
    with pytest.raises(DataError, match="unpacks to 32768 bytes, over the budget of 100"):
        open_kspace(old, budget=100)
    old.write_bytes(old.read_bytes()[:200])
    with pytest.raises(DataError, match=r"o\.mat"):
        open_kspace(old).kspace(0)


def test_arrays_and_their_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    mask = np.arange(12) % 2
    np.savez(path, kspace=np.where(mask, KSPACE, 0), mask=mask)
    file = open_kspace(path)
    assert np.array_equal(file.mask.numpy(), mask == 1)  # type: ignore[union-attr]
    assert not file.fully_sampled
    np.savez(path, a=KSPACE, b=KSPACE)
    with pytest.raises(DataError, match="holds a, b; pass key="):
        open_kspace(path)
    assert open_kspace(path, key="b").n_slices == 2
    np.savez_compressed(path, kspace=np.zeros((1, 1, 200, 200), np.complex64))
    with pytest.raises(DataError, match="unpacks to 320000 bytes, over the budget of 100000"):
        open_kspace(path, budget=10**5)
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="pickled objects"):
        open_kspace(tmp_path / "o.npy")
    np.save(tmp_path / "r.npy", np.abs(KSPACE))
    with pytest.raises(DataError, match="not complex"):
        open_kspace(tmp_path / "r.npy")
    whole = write_npy(tmp_path / "t.npy").read_bytes()
    (tmp_path / "t.npy").write_bytes(whole[:-9])
    with pytest.raises(DataError, match="no sound array file"):
        open_kspace(tmp_path / "t.npy").kspace(0)


def test_hybrid_transforms_invert_each_other() -> None:
    for n in (16, 15):
        line = torch.randn(3, n, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)).numpy()
        assert np.allclose(space_to_readout(readout_to_space(line, 1), 1), line, atol=1e-6)
        both = readout_to_space(readout_to_space(line, 1), 0)
        assert np.allclose(both, centred_ifft2(torch.from_numpy(line)).numpy(), atol=1e-6)
