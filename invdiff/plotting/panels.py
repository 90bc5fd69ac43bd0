"""Images: panels with their errors on one shared scale, galleries, values in their unit, phase."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch import Tensor

from invdiff.plotting.figure import Image, first_image, magnitude, new_figure, show

GAIN = 5  # errors are drawn this many times brighter than the images


@dataclass(frozen=True)
class Panel:
    """One column: a title, an image (H, W), and a line under it."""

    title: str
    image: Image
    caption: str = ""


def compare(
    truth: Image, panels: Sequence[Panel], mask: npt.NDArray[np.bool_] | None = None, title: str = ""
) -> Figure:
    """Truth and reconstructions above, their errors below on one scale with the gain printed, the mask beside.

    Args:
        truth: (H, W). panels: one column each. mask: (W,) or (H, W), True where sampled.
    """
    columns = len(panels) + 1
    figure = new_figure(2.2 * columns, 5.4)
    grid = figure.subplots(2, columns, squeeze=False)
    top = float(truth.max())
    show(grid[0][0], truth, (0, top), "truth", "")
    if mask is None:
        grid[1][0].axis("off")
    else:
        full = np.broadcast_to(mask, truth.shape).astype(np.float32)
        show(grid[1][0], full, (0, 1), "", f"sampling mask, {full.mean():.1%} sampled")
    for column, panel in enumerate(panels, 1):
        show(grid[0][column], panel.image, (0, top), panel.title, panel.caption)
        drawn = show(grid[1][column], np.abs(panel.image - truth), (0, top / GAIN), "", f"|error| x {GAIN}", "magma")
    bar = figure.colorbar(drawn, ax=list(grid[1]), location="bottom", shrink=0.5, aspect=50, pad=0.1)
    bar.set_label("|error|, in units of the image")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def gallery(
    panels: Sequence[Panel], columns: int, title: str = "", window: tuple[float, float] | None = None
) -> Figure:
    """Images row by row, all on the scale `window`, or each on its own from 0 to its maximum."""
    rows = -(-len(panels) // columns)
    figure = new_figure(1.7 * columns, 2.05 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, panel in zip(axes, panels, strict=False):
        show(axis, panel.image, window or (0, float(panel.image.max())), panel.title, panel.caption)
    for axis in axes[len(panels) :]:
        axis.axis("off")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def plot_image(
    x: Tensor | npt.ArrayLike,
    *,
    unit: str = "",
    window: tuple[float, float] | None = None,
    spacing: float | tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """One image with the scale of its values: real ones as they are, complex ones by their magnitude.

    Args:
        x: (..., H, W), of which the first is shown, first row on top.
        unit: of the values, such as "HU" or "1/mm", for the colour bar.
        window: lowest and highest value shown; by default all of them. CT: (-160, 240) HU shows soft tissue,
            (-1350, 150) the lung, (-450, 1050) bone.
        spacing: mm from pixel to pixel, one number or (row, column); gives axes in mm.
    """
    image = first_image(x)
    image = np.abs(image) if np.iscomplexobj(image) else image
    low, high = window or (float(image.min()), float(image.max()))
    figure = new_figure(4.6, 4.0)
    axis = figure.subplots()
    placed: dict[str, Any] = {} if spacing is None else {"extent": _extent(image.shape, spacing)}
    drawn = show(axis, image, (low, high), title, "x, mm" if placed else "", **placed)
    if placed:
        axis.set_ylabel("y, mm", fontsize=8)
    figure.colorbar(drawn, ax=axis).set_label(unit or "value, in units of the image")
    return figure


def _extent(shape: tuple[int, ...], spacing: float | tuple[float, float]) -> tuple[float, float, float, float]:
    """Edges in mm from the centre, y up: left, right, bottom, top."""
    row, column = spacing if isinstance(spacing, tuple) else (spacing, spacing)
    height, width = shape[0] * row / 2, shape[1] * column / 2
    return -width, width, -height, height


def plot_phase(x: Tensor | npt.ArrayLike, *, floor: float = 0.05, title: str = "") -> Figure:
    """Magnitude and phase, side by side; the phase only where the magnitude is above `floor` times its maximum.

    Elsewhere it is that of the noise, and would draw the eye. The colours of the phase close at +-pi.

    Raises:
        TypeError: x is real.
    """
    image = first_image(x)
    if not np.iscomplexobj(image):
        raise TypeError("a real image has no phase. Use plot_image.")
    size = magnitude(image)
    figure = new_figure(7.2, 3.6)
    left, right = figure.subplots(1, 2)
    drawn = show(left, size, (0, float(size.max())), "magnitude", "")
    figure.colorbar(drawn, ax=left).set_label("|x|, in units of the image")
    phase = np.where(size > floor * size.max(), np.angle(image), np.nan)
    drawn = show(right, phase, (-np.pi, np.pi), "phase", f"where |x| > {floor:.0%} of its maximum", "twilight")
    figure.colorbar(drawn, ax=right, ticks=[-np.pi, 0, np.pi], format=lambda v, _: f"{v:.2f}").set_label("radians")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
