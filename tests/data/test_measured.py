"""Measured scans: the reference in the file is the transform of its k-space, and maps explain the coil images."""

from pathlib import Path

import pytest
import torch

from invdiff.data.coils import espirit
from invdiff.data.kspace import KSpaceFile, open_kspace
from invdiff.data.noise import sigma_from_edges
from invdiff.data.synthetic import centred_ifft2


@pytest.fixture(params=["brain_t1_7ch", "phantom_gre_16ch", "brain_8ch_poisson"])
def scan(request: pytest.FixtureRequest, data_folder: Path) -> KSpaceFile:
    return open_kspace(data_folder / "kspace" / f"{request.param}.h5")


def test_reference_is_the_transform(scan: KSpaceFile) -> None:
    reference = scan.reference(0)
    assert reference is not None
    rss = torch.linalg.vector_norm(centred_ifft2(scan.kspace(0)), dim=0)
    # float32 transforms of other libraries, relative to a maximum of 1
    torch.testing.assert_close(rss, reference, rtol=1e-4, atol=1e-5)


def test_maps_leave_little_but_noise(scan: KSpaceFile) -> None:
    kspace = scan.kspace(0)
    maps, images = espirit(kspace, scan.mask), centred_ifft2(kspace)
    inside = maps.abs().sum(0) > 0
    residual = (images - maps * (maps.conj() * images).sum(0))[:, inside]
    assert 0.3 < float(inside.float().mean()) < 0.9
    assert float(residual.norm()) < 0.15 * float(images[:, inside].norm())
    if not scan.fully_sampled:  # aliasing is no multiple of the maps
        return
    noise = sigma_from_edges(kspace) * (residual.numel() * 2) ** 0.5
    # edges of k-space hold some signal and some scanners filter the read-out, so sigma is good to a factor
    assert float(residual.norm()) < 2 * noise


def test_the_inferred_mask_is_the_stored_one(data_folder: Path) -> None:
    path = data_folder / "kspace" / "brain_8ch_poisson.h5"
    stored, found = open_kspace(path).mask, open_kspace(path, infer_mask=True).sampling(0)
    assert stored is not None
    assert torch.equal(stored, found)
