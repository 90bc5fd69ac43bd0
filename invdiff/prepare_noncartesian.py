"""y_cj = (F s_c x)(k_j) + n: a slice of samples along read-outs with its trajectory, maps and operator, ready to solve.

Everything is estimated from the samples that are kept: read-out oversampling, noise between the coils, the gains of the
read-outs where asked for, and the maps, from the gridded centre of k-space.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from invdiff.data.geometry import Geometry
from invdiff.data.guarded import guarded
from invdiff.data.header import Header, parse_header
from invdiff.data.readouts import ReadoutFile
from invdiff.operators.fourier import centred_fft2
from invdiff.operators.noncartesian import NonCartesianMRI
from invdiff.operators.readout import decimate
from invdiff.operators.readout_gains import readout_gains
from invdiff.operators.trajectory import checked_trajectory, occupied_cells
from invdiff.operators.whitening import outermost
from invdiff.prepare_coils import Coils, encoding, mixed, noise_level
from invdiff.scan import FileScan, Slice
from invdiff.settings import UsageError

KERNEL, CALIBRATION = 5, 24  # ESPIRiT's patches, and its largest block: the dense centre is small
LEAST = 7  # cycles of the block
EVEN = 0.01  # cycles by which steps along a read-out may differ and count as equal
BEFORE = Coils()


@dataclass(frozen=True)
class NonCartesianScan(FileScan[ReadoutFile]):
    """A file of read-outs and what is to be done with it.

    Attributes:
        coils: whitening (by the file's noise, else by the outermost samples), compression and maps.
        size: (h, w) of the image; None takes the file's, else what the trajectory resolves.
        spokes: read-outs to keep; None keeps all.
        oversampling: of the read-out, averaged away; None as the trajectory tells, 1 for none.
        gains: divide every read-out by its gain relative to all (`readout_gains`).
    """

    coils: Coils = BEFORE
    size: tuple[int, int] | None = None
    spokes: int | None = None
    oversampling: int | None = None
    gains: bool = False
    prior: str = field(default="brain-mri", init=False)
    baseline: str = field(default="cg", init=False)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(slices, h, w)."""
        return self.file.shape[0], *(self.size or self.file.size or _resolved(_read(self.file, "trajectory", 0)))

    @property
    def geometry(self) -> Geometry | None:
        """As the file says of images of its own size; --size changes the pixels."""
        return self.file.geometry if self.shape[1:] == self.file.size else None

    @property
    def header(self) -> Header | None:
        return None if self.file.header is None else parse_header(self.file.header)

    def slice(self, i: int) -> Slice | None:
        """Slice i, None where it is all zero."""
        samples, trajectory = _read(self.file, "samples", i), _read(self.file, "trajectory", i)
        if not bool((samples != 0).any()):
            return None
        checked_trajectory(trajectory.flatten(0, 1), self.shape[1:], self.path.name)
        factor = readout_oversampling(trajectory) if self.oversampling is None else self.oversampling
        samples, trajectory = _decimated(samples, trajectory, factor)
        kept = chosen_readouts(trajectory, self.spokes)
        samples, trajectory = samples[:, kept], trajectory[kept]
        noise = _read(self.file, "extra", "noise", i)
        matrix = self.coils.matrix(samples, self._noise(noise, samples, trajectory))
        samples = samples if matrix is None else torch.einsum("vc,csn->vsn", matrix, samples)
        if self.gains:
            samples = samples / readout_gains(samples, trajectory)[:, None]
        stored = mixed(_read(self.file, "extra", "maps", i), matrix) if self.coils.maps == "stored" else None
        level = None if noise is None else float(noise_level(_known(mixed(noise, matrix)))) / math.sqrt(factor)
        return self._ready(samples, trajectory, stored, level, _read(self.file, "extra", "reference", i))

    def record(self) -> dict[str, Any]:
        """How slices are made, for the attributes of the output."""
        kept = "all" if self.spokes is None else f"{self.spokes} of {self.file.shape[2]}"
        notes = (*self.file.notes, *(("read-outs divided by their gains",) if self.gains else ()))
        return {"notes": "; ".join(notes), "mask": f"{kept} read-outs", "maps": self.coils.described()}

    def _noise(self, noise: Tensor | None, samples: Tensor, trajectory: Tensor) -> Tensor | None:
        if not self.coils.whiten or noise is not None:
            return noise
        return outermost(samples.flatten(1), trajectory.flatten(0, 1))

    def _ready(
        self, samples: Tensor, trajectory: Tensor, stored: Tensor | None, level: float | None, reference: Tensor | None
    ) -> Slice:
        sizes = self.shape[1:]
        k, y = trajectory.flatten(0, 1), samples.flatten(1)
        one = NonCartesianMRI(k, shape=sizes)
        maps = None
        if len(y) > 1:
            grid = centred_fft2(one.gridding(y[:, None]))[:, 0]  # every coil as an item of the batch
            width = CALIBRATION if self.coils.maps == "stored" else calibration_width(k)
            maps = self.coils.sensitivities(grid, None, stored, None, width=width, kernel=KERNEL)
        op, image = encoding(maps, partial(NonCartesianMRI, k, shape=sizes, density=one.density))
        rate = math.prod(sizes) / int(occupied_cells(k[None], sizes).sum())
        words = f"{rate:.2f}x ({len(trajectory)} of {self.file.shape[2]} read-outs, {trajectory.shape[1]} samples)"
        return Slice(y[None], op, words, reference, level, image)


def chosen_readouts(trajectory: Tensor, count: int | None) -> Tensor:
    """Indices of `count` read-outs whose directions are as even as can be; all where count is None.

    Every so many of all, which suits spokes in the order of their angle, or the first ones, which suits golden angles:
    whichever leaves the smaller gap.

    Args:
        trajectory: (read-outs, samples, 2).

    Raises:
        UsageError: not between 1 and the number of read-outs.
    """
    total = len(trajectory)
    if count is None:
        return torch.arange(total)
    if not 1 <= count <= total:
        raise UsageError(f"--spokes {count}: the file has {total} read-outs; keep 1 to {total} of them.")
    spread = torch.arange(count) * total // count
    return min((spread, torch.arange(count)), key=lambda kept: _largest_gap(trajectory[kept]))


def _largest_gap(trajectory: Tensor) -> float:
    """Between the directions in which read-outs end, radians; both ends count where they cross the centre."""
    step = trajectory[:, -1] - trajectory[:, 0]
    crossing = float(trajectory.norm(dim=-1).argmin(1).double().mean()) > trajectory.shape[1] / 4
    period = math.pi if crossing else 2 * math.pi
    angle = torch.atan2(step[:, 0], step[:, 1]).remainder(period).sort().values
    return float(torch.cat([angle.diff(), angle[:1] + period - angle[-1:]]).max())


def readout_oversampling(trajectory: Tensor) -> int:
    """Whole samples per cycle along straight, evenly sampled read-outs; 1 for all others.

    Args:
        trajectory: (read-outs, samples, 2), cycles per field of view.
    """
    steps = trajectory.diff(dim=1)
    length = float(steps.norm(dim=-1).max()) if steps.numel() else 0.0
    if length == 0 or float((steps - steps[:, :1]).norm(dim=-1).max()) > EVEN:
        return 1
    factor = max(1, math.floor((1 + EVEN) / length))
    return max(f for f in range(1, factor + 1) if trajectory.shape[1] % f == 0)


def calibration_width(trajectory: Tensor) -> int:
    """Side of the square about the centre of k-space that the samples (n, 2) fill, at most 24.

    It is filled where no place is farther from a sample than the middle of a Cartesian cell is from its corners.

    Raises:
        ValueError: fewer than 7 cycles are filled, so that nothing tells the maps.
    """
    reach = CALIBRATION // 2
    axis = np.arange(-4 * reach, 4 * reach + 1) / 4  # quarters of a cycle
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    distance, _ = cKDTree(trajectory.numpy()).query(points)
    holes = np.linalg.norm(points[distance > math.sqrt(0.5) + EVEN], axis=-1)
    width = min(CALIBRATION, 2 * math.floor(holes.min(initial=CALIBRATION)))
    if width < LEAST:
        raise ValueError("the read-outs are too few to fill the centre of k-space, which maps are estimated from; "
                         "keep more of them, or store maps in the file and use --maps stored.")  # fmt: skip
    return width


def _decimated(samples: Tensor, trajectory: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    try:
        return (samples, trajectory) if factor == 1 else decimate(samples, trajectory, factor)
    except ValueError as error:
        raise UsageError(f"--oversampling {factor}: {error}") from error


def _resolved(trajectory: Tensor) -> tuple[int, int]:
    """(h, w): twice the reach of the trajectory."""
    rows, columns = (max(1, 2 * round(float(trajectory[..., axis].abs().max()))) for axis in (0, 1))
    return rows, columns


def _read(file: ReadoutFile, what: str, *arguments: Any) -> Any:
    """Read in a process of its own: a tensor, or None."""
    values: np.ndarray | None = guarded(file.path, getattr(type(file), what), file, *arguments)
    return None if values is None else torch.from_numpy(np.ascontiguousarray(values))


def _known(values: Tensor | None) -> Tensor:
    assert values is not None
    return values
