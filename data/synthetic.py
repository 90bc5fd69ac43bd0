"""kspace = F (maps x phantom x phase) + noise: a small file in the true fastMRI layout, for tests and recipes."""

import os
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.fft import fft2, fftshift, ifft2, ifftshift

from invdiff.data.coils import simulate_maps
from invdiff.data.masks import achieved_acceleration, acs_lines
from invdiff.data.masks_fastmri import fastmri_mask
from invdiff.data.phantom import head_phantom, smooth_phase
from invdiff.random import streams

_HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<acquisitionSystemInformation><receiverChannels>{coils}</receiverChannels></acquisitionSystemInformation>
<experimentalConditions><H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions>
<encoding>
<encodedSpace><matrixSize><x>{h}</x><y>{w}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{h}</x><y>{w}</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{h}</x><y>{w}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{h}</x><y>{w}</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1>
<minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
</kspace_encoding_step_1></encodingLimits>
<trajectory>cartesian</trajectory>
</encoding>
</ismrmrdHeader>"""


def write_synthetic_fastmri(
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, int] = (48, 40),
    coils: int = 4,
    slices: int = 2,
    mask: Tensor | None = None,
    sigma: float = 0.002,
    seed: int = 0,
    single_coil: bool = False,
    acquisition: str = "AXT1",
) -> Path:
    """Write a phantom as fastMRI would store it, and return the path.

    Args:
        shape: (h, w) of k-space.
        coils, slices: their numbers; slices differ in their phantom.
        mask: (w,) bool writes the layout of a test file: masked k-space, `mask`, no reference.
        sigma: noise per real component of k-space; images have values up to 1.
        seed: of phantom, maps and noise.
        single_coil: no coil axis, and `reconstruction_esc` beside `reconstruction_rss`.
        acquisition: the attribute of that name.

    Raises:
        FileExistsError: nothing is overwritten.
    """
    path = Path(path)
    coils = 1 if single_coil else coils
    images = torch.stack([coil_images(shape, coils, seed + i) for i in range(slices)])
    kspace = centred_fft2(images)
    noise, _ = streams(seed, slices)
    kspace = kspace + sigma * noise.like(kspace)
    rss = torch.linalg.vector_norm(centred_ifft2(kspace), dim=1)
    if mask is not None:
        kspace = torch.where(mask, kspace, torch.zeros_like(kspace))
    with h5py.File(path, "x") as file:
        stored = kspace[:, 0] if single_coil else kspace
        file["kspace"] = stored.numpy()
        file["ismrmrd_header"] = np.bytes_(_header(shape, coils).encode())
        file.attrs.update(acquisition=acquisition, patient_id=f"synthetic {seed}")
        file.attrs.update(max=float(rss.max()), norm=float(rss.norm()))
        if mask is None:
            file["reconstruction_rss"] = rss.numpy()
            if single_coil:
                file["reconstruction_esc"] = rss.numpy()
        else:
            file["mask"] = mask.numpy().astype(np.float32)
            lines = acs_lines(mask)
            file.attrs.update(acceleration=achieved_acceleration(mask), num_low_frequency=lines.stop - lines.start)
    return path


def write_synthetic_set(
    root: str | os.PathLike[str],
    *,
    shape: tuple[int, int] = (48, 40),
    coils: int = 4,
    slices: int = 2,
    volumes: int = 2,
    sigma: float = 0.002,
    single_coil: bool = False,
) -> Path:
    """Folders `multicoil_train`, `_val` and `_test` (or `singlecoil_...`) as the data set has them; returns the root.

    Volumes alternate between two acquisitions; every phantom is another patient's. Test volumes are undersampled with
    the challenge's random masks, at 2 with 30 % of the lines at the centre since they are so small; they have no
    reference.

    Raises:
        FileExistsError: nothing is overwritten.
    """
    root = Path(root)
    for p, part in enumerate(("train", "val", "test")):
        folder = root / f"{'single' if single_coil else 'multi'}coil_{part}"
        folder.mkdir(parents=True)
        for v in range(volumes):
            name = f"file{100 * p + v:07}.h5"
            write_synthetic_fastmri(
                folder / name,
                shape=shape,
                coils=coils,
                slices=slices,
                mask=fastmri_mask(shape[1], 2, 0.3, seed=name)[0] if part == "test" else None,
                sigma=sigma,
                seed=1000 * p + 100 * v,
                single_coil=single_coil,
                acquisition=("AXT1", "AXT2")[v % 2],
            )
    return root


def coil_images(shape: tuple[int, int], coils: int, seed: int = 0) -> Tensor:
    """maps x phantom x exp(i phase), (coils, h, w) complex64; one coil sees everything alike."""
    phase = smooth_phase(shape, seed)
    image = head_phantom(shape, seed) * torch.polar(torch.ones_like(phase), phase)
    return image[None] if coils == 1 else simulate_maps(coils, shape, seed) * image


def centred_fft2(x: Tensor) -> Tensor:
    """Centred orthonormal transform over the last two axes."""
    return fftshift(fft2(ifftshift(x, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


def centred_ifft2(y: Tensor) -> Tensor:
    """Inverse of `centred_fft2`."""
    return fftshift(ifft2(ifftshift(y, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))


def _header(shape: tuple[int, int], coils: int) -> str:
    h, w = shape
    return _HEADER.format(h=h, w=w, coils=coils, last=w - 1, centre=w // 2)
