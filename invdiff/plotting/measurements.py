"""What was measured, in its own coordinates: k-space, sampling masks, trajectories, sinograms."""

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch import Tensor

from invdiff.plotting.figure import COLOURS, Array, as_array, first_of, new_figure, show

DECADES = 4  # of k-space shown below its largest value; noise of real scans is mostly within them


def plot_kspace(y: Tensor | npt.ArrayLike, *, title: str = "k-space") -> Figure:
    """log10 of the root sum of squares over coils, four decades down from its maximum.

    Args:
        y: (..., coil, H, W) complex, DC at index (H // 2, W // 2); the first item is shown. Zeros are black.
    """
    array = as_array(y)
    if array.ndim < 2:
        raise ValueError(f"k-space on a grid has two axes or more, (..., coil, H, W); got {array.shape}.")
    array = first_of(array, 3)
    combined = np.sqrt((np.abs(array) ** 2).sum(0)) if array.ndim == 3 else np.abs(array)
    top = float(combined.max())
    decades = np.full(combined.shape, -2.0 * DECADES)  # zeros: below the window, but finite: drawn
    np.log10(combined / (top or 1.0), out=decades, where=combined > 0)
    figure = new_figure(4.6, 4.0)
    axis = figure.subplots()
    drawn = show(axis, decades, (-DECADES, 0), title, "k, columns (cycles per field of view)", extent=_grid(combined))
    axis.set_ylabel("k, rows (cycles per field of view)", fontsize=8)
    figure.colorbar(drawn, ax=axis).set_label("log10 of the share of the largest value")
    return figure


def plot_mask(mask: Tensor | npt.ArrayLike, shape: tuple[int, int] | None = None, *, title: str = "") -> Figure:
    """Which places of k-space were sampled, white, and how many of them.

    Args:
        mask: (W,), for which `shape` (H, W) is needed, or (..., H, W).
    """
    array = as_array(mask).astype(bool)
    if array.ndim == 1:
        if shape is None:
            raise ValueError(f"a mask of lines, {array.shape}, needs the shape (H, W) of k-space.")
        array = np.broadcast_to(array, shape)
    array = first_of(array, 2)
    figure = new_figure(4.0, 4.2)
    axis = figure.subplots()
    share = float(array.mean())
    show(
        axis, array, (0, 1), title or f"{share:.1%} sampled, {1 / share:.2g}-fold undersampled", "", extent=_grid(array)
    )
    axis.set_xlabel("k, columns (cycles per field of view)", fontsize=8)
    axis.set_ylabel("k, rows (cycles per field of view)", fontsize=8)
    return figure


def plot_trajectory(points: Tensor | npt.ArrayLike, *, title: str = "") -> Figure:
    """The path through k-space of a non-Cartesian scan, one line a read-out, the first and the last one in colour.

    Args:
        points: (read-out, sample, 2) or (sample, 2), in cycles per field of view; the last axis is (row, column).
    """
    array = as_array(points)
    if array.shape[-1] != 2 or array.ndim not in (2, 3):
        raise ValueError(f"a trajectory is (read-out, sample, 2) or (sample, 2); got {array.shape}.")
    lines = array[None] if array.ndim == 2 else array
    figure = new_figure(4.2, 4.2)
    axis = figure.subplots()
    for line in lines[1:-1]:
        axis.plot(line[:, 1], line[:, 0], color="0.7", linewidth=0.5)
    ends = {0: "first", len(lines) - 1: "last"}
    for (index, name), colour in zip(ends.items(), COLOURS[1:3], strict=False):
        axis.plot(lines[index, :, 1], lines[index, :, 0], ".-", color=colour, markersize=2, linewidth=0.8, label=name)
    axis.set_aspect("equal")
    axis.invert_yaxis()  # as images have their first row on top
    axis.set(xlabel="k, columns (cycles per field of view)", ylabel="k, rows (cycles per field of view)")
    axis.set_title(title or f"{len(lines)} read-outs of {lines.shape[1]} samples", fontsize=10)
    axis.legend(fontsize=8)
    return figure


def plot_sinogram(
    y: Tensor | npt.ArrayLike, angles: Tensor | npt.ArrayLike, *, bin_width: float = 1.0, title: str = "sinogram"
) -> Figure:
    """Line integrals by view and place on the detector.

    Args:
        y: (..., view, bin), without unit; the first item is shown.
        angles: (view,), radians, in the order of the views.
        bin_width: of the detector, mm.
    """
    array, views = first_of(as_array(y), 2), np.degrees(as_array(angles))
    if views.shape != array.shape[:1]:
        raise ValueError(f"a sinogram {array.shape} of (view, bin) needs {array.shape[0]} angles, got {views.shape}.")
    half = array.shape[1] * bin_width / 2
    figure = new_figure(5.0, 3.8)
    axis = figure.subplots()
    edges = (-half, half, float(len(views)), 0.0)
    low, high = float(array.min()), float(array.max())
    drawn = show(axis, array, (low, high), title, "detector, mm", extent=edges, aspect="auto")
    ticks = np.unique(np.linspace(0, len(views) - 1, 7).round().astype(int))
    axis.set_yticks(ticks + 0.5, [f"{views[t]:.0f}" for t in ticks])
    axis.set_ylabel("view, degrees", fontsize=8)
    figure.colorbar(drawn, ax=axis).set_label("line integral of the attenuation")
    return figure


def _grid(image: Array) -> tuple[float, float, float, float]:
    """Edges of the pixels in cycles per field of view, DC at index (H // 2, W // 2): left, right, bottom, top."""
    (height, width), half = image.shape, 0.5
    low_row, low_column = -(height // 2), -(width // 2)
    return low_column - half, low_column + width - half, low_row + height - half, low_row - half
