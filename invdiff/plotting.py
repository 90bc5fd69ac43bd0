"""Figures: panels of magnitudes with their errors on one shared scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from invdiff.result import Result

Image = npt.NDArray[np.float32]
GAIN = 5  # errors are drawn this many times brighter than the images


@dataclass(frozen=True)
class Panel:
    """One column: a title, an image (H, W), and a line under it."""

    title: str
    image: Image
    caption: str = ""


def magnitude(x: Tensor | npt.ArrayLike) -> Image:
    """|x| of the first item and channel, (H, W) float32."""
    array = x.detach().cpu() if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x))
    while array.ndim > 2:
        array = array[0]
    return array.abs().numpy().astype(np.float32)


def compare(
    truth: Image, panels: Sequence[Panel], mask: npt.NDArray[np.bool_] | None = None, title: str = ""
) -> Figure:
    """Truth and reconstructions above, their errors below on one scale with the gain printed, the mask beside.

    Args:
        truth: (H, W). panels: one column each. mask: (W,) or (H, W), True where sampled.
    """
    columns = len(panels) + 1
    figure = _figure(2.2 * columns, 5.4)
    grid = figure.subplots(2, columns, squeeze=False)
    top = float(truth.max())
    _show(grid[0][0], truth, top, "truth", "")
    if mask is None:
        grid[1][0].axis("off")
    else:
        full = np.broadcast_to(mask, truth.shape).astype(np.float32)
        _show(grid[1][0], full, 1.0, "", f"sampling mask, {full.mean():.1%} sampled")
    for column, panel in enumerate(panels, 1):
        _show(grid[0][column], panel.image, top, panel.title, panel.caption)
        drawn = _show(grid[1][column], np.abs(panel.image - truth), top / GAIN, "", f"|error| x {GAIN}", "magma")
    bar = figure.colorbar(drawn, ax=list(grid[1]), location="bottom", shrink=0.5, aspect=50, pad=0.1)
    bar.set_label("|error|, in units of the image")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def plot_result(result: Result, truth: Tensor | npt.ArrayLike | None = None) -> Figure:
    """Reconstruction, spread of the samples if there are several, misfit by step, and the error if truth is known."""
    image = magnitude(result.x)
    columns = 2 + (result.std is not None) + (truth is not None)
    figure = _figure(3.2 * columns, 3.4)
    axes = list(figure.subplots(1, columns))
    _show(axes.pop(0), image, float(image.max()), result.method, result.status)
    if result.std is not None:
        spread = magnitude(result.std)
        _show(
            axes.pop(0),
            spread,
            float(spread.max()),
            "standard deviation",
            f"{result.samples.shape[1]} samples",
            "magma",
        )
    if truth is not None:
        error = np.abs(image - magnitude(truth))
        _show(axes.pop(0), error, float(image.max()) / GAIN, "|error|", f"x {GAIN}", "magma")
    axis = axes.pop(0)
    if len(result.misfit):
        axis.semilogy(result.misfit[:, 0].cpu().numpy())
    axis.set(xlabel="step", ylabel="|A x0 - y|, units of the prior", title="data misfit")
    return figure


class Layered(Protocol):
    """A mask over the parameters of a network, such as `invdiff.solvers.oes.Mask`."""

    @property
    def share(self) -> float: ...
    def layers(self) -> dict[str, float]:
        """Kept share of every layer's parameters, by name, from input to output."""
        ...


def plot_mask_layers(mask: Layered) -> Figure:
    """Which share of its parameters every layer keeps, from input to output, beside that of all together."""
    kept = mask.layers()
    figure = _figure(6.4, 0.6 + 0.16 * len(kept))
    axis = figure.subplots()
    axis.barh(list(kept), [100 * share for share in kept.values()], color="tab:blue")
    axis.axvline(100 * mask.share, color="black", linestyle="--", linewidth=1, label=f"all layers, {mask.share:.2%}")
    axis.invert_yaxis()
    axis.margins(y=0.01)
    axis.tick_params(axis="y", labelsize=6)
    axis.set(xlabel="kept parameters, %", ylabel="layer, from input to output")
    axis.legend(fontsize=8)
    return figure


def plot_stopping(result: Result) -> Figure:
    """Misfit and score by iteration, a curve for each run; a dot marks the least score, whose image is in `samples`.

    Raises:
        ValueError: the method has no stop rule.
    """
    if not len(result.score):
        raise ValueError(f"{result.method} has no stop rule, so nothing was chosen; plot_result shows its misfit.")
    figure = _figure(6.4, 4.8)
    above, below = figure.subplots(2, 1, sharex=True)
    scores, misfits = (values.flatten(1).cpu() for values in (result.score, result.misfit))
    for run, score in enumerate(scores.T):
        chosen = int(torch.where(score.isnan(), math.inf, score).argmin())
        misfit = torch.where(score.isnan(), math.nan, misfits[:, run])  # the end of a run in a batch that goes on
        for axis, values in ((above, misfit), (below, score)):
            (line,) = axis.plot(values.numpy())
            axis.plot(chosen, float(values[chosen]), "o", color=line.get_color(), label=f"iteration {chosen}")
    above.set(ylabel="|A x - y|, units of the prior", yscale="log", title=result.method)
    positive = bool((scores[scores.isfinite()] > 0).all())
    below.set(xlabel="iteration", ylabel="score of the stop rule", yscale="log" if positive else "linear")
    below.legend(fontsize=8)
    return figure


def gallery(panels: Sequence[Panel], columns: int, title: str = "") -> Figure:
    """Images row by row, each on its own scale from 0 to its maximum."""
    rows = -(-len(panels) // columns)
    figure = _figure(1.7 * columns, 2.05 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, panel in zip(axes, panels, strict=False):
        _show(axis, panel.image, float(panel.image.max()), panel.title, panel.caption)
    for axis in axes[len(panels) :]:
        axis.axis("off")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write the figure whole or not at all; the suffix of `path` gives the format."""
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        figure.savefig(temporary, dpi=dpi)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _show(axis: Axes, image: Image, top: float, title: str, caption: str, cmap: str = "gray") -> Any:
    drawn = axis.imshow(image, cmap=cmap, vmin=0, vmax=top or 1.0, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(caption, fontsize=8)
    return drawn
