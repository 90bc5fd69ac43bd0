"""Small files of known k-space in the layouts of ISMRMRD, SKM-TEA, MATLAB and BART, written from their descriptions."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from invdiff.data.synthetic import centred_fft2, coil_images

XML = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<measurementInformation><patientPosition>HFS</patientPosition><protocolName>flash</protocolName></measurementInformation>
<acquisitionSystemInformation><systemVendor>ACME</systemVendor><systemFieldStrength_T>2.89</systemFieldStrength_T>
<receiverChannels>{coils}</receiverChannels></acquisitionSystemInformation>
<experimentalConditions><H1resonanceFrequency_Hz>123200000</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><trajectory>{trajectory}</trajectory>
<encodedSpace><matrixSize><x>{n[0]}</x><y>{n[1]}</y><z>{n[2]}</z></matrixSize>
<fieldOfView_mm><x>{fov[0]}</x><y>{fov[1]}</y><z>{fov[2]}</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{m[0]}</x><y>{m[1]}</y><z>{m[2]}</z></matrixSize>
<fieldOfView_mm><x>{seen[0]}</x><y>{seen[1]}</y><z>{seen[2]}</z></fieldOfView_mm></reconSpace>
<encodingLimits>
<kspace_encoding_step_1><minimum>0</minimum><maximum>{n[1]}</maximum><center>{centre}</center></kspace_encoding_step_1>
</encodingLimits></encoding>
<sequenceParameters><TR>8.6</TR><TE>4.1</TE><flipAngle_deg>15</flipAngle_deg></sequenceParameters>
</ismrmrdHeader>"""

COUNTERS = [
    (name, "<u2")
    for name in (
        *("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase"),
        *("repetition", "set", "segment"),
    )
]
HEAD = np.dtype(
    [("version", "<u2"), ("flags", "<u8"), ("number_of_samples", "<u2"), ("active_channels", "<u2"),
     ("discard_pre", "<u2"), ("discard_post", "<u2"), ("center_sample", "<u2"), ("encoding_space_ref", "<u2"),
     ("sample_time_us", "<f4"), ("position", "<f4", (3,)), ("read_dir", "<f4", (3,)), ("phase_dir", "<f4", (3,)),
     ("slice_dir", "<f4", (3,)), ("idx", np.dtype(COUNTERS))]
)  # fmt: skip
LINES = h5py.vlen_dtype(np.dtype("float32"))
ACQUISITION = np.dtype([("head", HEAD), ("traj", LINES), ("data", LINES)])


def example(slices: int = 2, coils: int = 3, shape: tuple[int, int] = (16, 12)) -> np.ndarray:
    """k-space of phantoms, (slices, coils, h, w) complex64."""
    return torch.stack([centred_fft2(coil_images(shape, coils, i)) for i in range(slices)]).numpy()


def acquisition(
    line: np.ndarray, flags: tuple[int, ...] = (), traj: np.ndarray | None = None, **values: Any
) -> np.ndarray:
    """One row of the table: a read-out (coils, n), its positions (n, 2 or 3); counters and header fields by name."""
    row = np.zeros(1, ACQUISITION)
    head = row["head"]
    head["flags"] = sum(1 << (bit - 1) for bit in flags)
    head["active_channels"], head["number_of_samples"] = line.shape
    head["center_sample"], head["sample_time_us"] = line.shape[1] // 2, 2.0
    head["read_dir"], head["phase_dir"], head["slice_dir"] = np.eye(3)[[1, 0, 2]]
    for name, value in values.items():
        owner = head["idx"] if name in head["idx"].dtype.names else head
        owner[name] = value
    row["data"][0] = np.ascontiguousarray(line, np.complex64).view(np.float32).reshape(-1)
    row["traj"][0] = np.zeros(0, np.float32) if traj is None else traj.astype(np.float32).reshape(-1)
    return row


def rows_of(kspace: np.ndarray, columns: Any = None, **values: Any) -> list[np.ndarray]:
    """All read-outs of (slices, coils, h, w), or of some columns."""
    width = range(kspace.shape[-1]) if columns is None else columns
    return [
        acquisition(kspace[s, :, :, k], slice=s, kspace_encode_step_1=k, position=(1.0, 2.0, 6.0 * s), **values)
        for s in range(len(kspace))
        for k in width
    ]


def write_ismrmrd(path: Path, rows: list[np.ndarray] | None = None, group: str = "dataset", **header: Any) -> Path:
    """A table of acquisitions; the header fits `example()` unless told otherwise."""
    rows = rows_of(example()) if rows is None else rows
    settings: dict[str, Any] = {
        "n": (16, 12, 1),
        "fov": (160, 120, 5),
        "centre": 6,
        "trajectory": "cartesian",
        "coils": 3,
    }
    settings |= header
    settings = {"m": settings["n"], "seen": settings["fov"]} | settings
    with h5py.File(path, "w") as file:
        made = file.create_group(group)
        made.create_dataset("xml", data=[XML.format(**settings)], dtype=h5py.string_dtype())
        table = made.create_dataset("data", (len(rows),), ACQUISITION)
        for i, row in enumerate(rows):
            table[i : i + 1] = row
    return path


def write_skmtea(path: Path, kspace: np.ndarray | None = None) -> Path:
    """(x, coils, ky, kz) as the second of two echoes, with maps of ones over sqrt(coils) and a target."""
    kspace = example() if kspace is None else kspace
    stored = np.moveaxis(kspace, 1, -1)
    with h5py.File(path, "w") as file:
        file["kspace"] = np.stack([2 * stored, stored], axis=3)
        maps = np.full(stored.shape, kspace.shape[1] ** -0.5, np.complex64)
        file["maps"] = maps[..., None]
        file["target"] = np.stack([0 * stored[..., :1], 1j * stored[..., :1]], axis=3).astype(np.complex64)
        file["masks/poisson_6.0x"] = np.ones(kspace.shape[2:])
    return path


def write_matlab(path: Path, kspace: np.ndarray | None = None, name: str = "kspace_full") -> Path:
    """MATLAB 7.3: (frame, slice, coil, y, x), compound of real and imag, of one frame."""
    kspace = example() if kspace is None else kspace
    reversed_axes = np.moveaxis(kspace[None], -1, -2)
    stored = np.zeros(reversed_axes.shape, [("real", "<f8"), ("imag", "<f8")])
    stored["real"], stored["imag"] = reversed_axes.real, reversed_axes.imag
    with h5py.File(path, "w", userblock_size=512) as file:
        file[name] = stored
    return path
