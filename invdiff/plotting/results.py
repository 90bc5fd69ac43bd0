"""What a method did: its image and spread, its way there, where it stopped, and quality against cost."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from invdiff.plotting.figure import COLOURS, MARKERS, Image, displayed, magnitude, new_figure, show
from invdiff.plotting.panels import GAIN
from invdiff.result import Result

NEAR, RING = 0.02, 6.0  # of an axis, within which markers coincide; points by which the next is larger


def plot_result(result: Result, truth: Tensor | npt.ArrayLike | None = None) -> Figure:
    """Reconstruction, spread of several samples, error where truth is known, misfit by step where tracked.

    Of volumes the first slice; of complex images the magnitude.

    Raises:
        ValueError: a truth of another size.
    """
    image = displayed(result.x)
    columns = 1 + (result.std is not None) + (truth is not None) + (len(result.misfit) > 0)
    figure = new_figure(3.2 * columns, 3.4)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    fitted = "" if result.chi2 is None else f"chi2 {float(result.chi2[0]):.2f}, "
    show(axes.pop(0), image, _span(image), result.method, f"{fitted}{result.nfe} evaluations")
    if result.std is not None:
        spread = magnitude(result.std)
        count = f"{result.samples.shape[1]} samples"
        drawn = show(axes[0], spread, (0, float(spread.max())), "standard deviation", count, "magma")
        figure.colorbar(drawn, ax=axes.pop(0), shrink=0.8)
    if truth is not None:
        known = displayed(truth)
        if known.shape != image.shape:
            raise ValueError(f"the truth is {known.shape} and the image {image.shape}; crop one of them.")
        show(
            axes.pop(0), np.abs(image - known), (0, float(np.abs(image).max()) / GAIN), "|error|", f"x {GAIN}", "magma"
        )
    if axes:
        axes[0].semilogy(result.misfit[:, 0].cpu().numpy())
        axes[0].set(xlabel="step", ylabel="|A x0 - y|, units of the prior", title="data misfit")
    return figure


def _span(image: Image) -> tuple[float, float]:
    """From 0, or what lies below it, to the maximum."""
    return min(0.0, float(image.min())), float(image.max())


def plot_samples(result: Result, most: int = 4) -> Figure:
    """Samples side by side, up to `most`, then their mean and standard deviation with its scale.

    Raises:
        ValueError: one sample has no spread.
    """
    if result.std is None:
        raise ValueError(f"{result.method} made one sample, which has no spread. Ask for more: num_samples=4.")
    samples, mean = [displayed(sample) for sample in result.samples[0, :most]], displayed(result.mean)
    figure = new_figure(2.1 * (len(samples) + 2) + 0.6, 2.7)
    axes = list(figure.subplots(1, len(samples) + 2))
    for index, sample in enumerate(samples):
        show(axes.pop(0), sample, _span(mean), f"sample {index}", "")
    show(axes.pop(0), mean, _span(mean), f"mean of {result.samples.shape[1]}", "")
    spread = magnitude(result.std)
    drawn = show(axes[0], spread, (0, float(spread.max())), "standard deviation", "", "magma")
    figure.colorbar(drawn, ax=axes[0], shrink=0.8).set_label("in units of the image", fontsize=8)
    return figure


def plot_convergence(results: Sequence[Result]) -> Figure:
    """|A x0 - y| by step, a line a result, named by its method; methods that take no misfit are named above.

    Methods differ in what a step costs: see `plot_quality` for that.

    Raises:
        ValueError: none of the results has a misfit by step.
    """
    tracked = [result for result in results if len(result.misfit)]
    if not tracked:
        raise ValueError("none of these results has a misfit by step: their methods take none.")
    figure = new_figure(5.6, 3.6)
    axis = figure.subplots()
    for index, result in enumerate(tracked):
        style = ".-" if index < len(COLOURS) else ".--"
        curve = result.misfit[:, 0, 0].cpu().numpy()
        axis.loglog(np.arange(1, len(curve) + 1), curve, style, markersize=3, color=_colour(index), label=result.method)
    axis.set(xlabel="step", ylabel="|A x0 - y|, units of the prior")
    axis.legend(fontsize=8, ncols=2)
    left_out = dict.fromkeys(result.method for result in results if not len(result.misfit))
    if left_out:
        words = f"not drawn, as they take no misfit by step: {', '.join(left_out)}"
        axis.set_title(textwrap.fill(words, 80), fontsize=8, loc="left")
    return figure


@dataclass(frozen=True)
class Point:
    """What one method reached: quality (PSNR in dB unless the axis says else) at evaluations and seconds."""

    name: str
    quality: float
    evaluations: float
    seconds: float


def plot_quality(points: Sequence[Point], quality: str = "PSNR, dB") -> Figure:
    """Quality against evaluations of the prior and against seconds, a marker a method; up and left is better.

    Markers are open, and larger around one that they coincide with.

    Args:
        points: methods without a prior have 0 evaluations and stand at the left edge of that axis.
    """
    if not points:
        raise ValueError("no method to draw.")
    figure = new_figure(8.4, 3.8)
    left, right = figure.subplots(1, 2, sharey=True)
    for index, point in enumerate(points):
        style: dict[str, Any] = {"color": _colour(index), "marker": MARKERS[index % len(MARKERS)], "linestyle": "none"}
        style |= {"markerfacecolor": "none", "clip_on": False}
        left.plot(point.evaluations, point.quality, label=point.name, **style)
        right.plot(point.seconds, point.quality, label=point.name, **style)
    left.set_xscale("symlog", linthresh=1)
    left.set(xlabel="evaluations of the prior", ylabel=quality)
    right.set(xlabel="seconds", xscale="log")
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    for axis in (left, right):
        _nest(axis)
    return figure


def _nest(axis: Axes) -> None:
    """Let a marker grow by RING for every earlier one within NEAR of it, so that none hides another."""
    axis.get_xlim(), axis.get_ylim()  # settles the limits, which the transform needs
    place = axis.transData - axis.transAxes
    placed = [place.transform(np.asarray(line.get_xydata()))[0] for line in axis.lines]
    for index, line in enumerate(axis.lines):
        hidden = sum(bool(np.abs(placed[index] - other).max() < NEAR) for other in placed[:index])
        line.set_markersize(line.get_markersize() + RING * hidden)


class Layered(Protocol):
    """A mask over the parameters of a network, such as `invdiff.solvers.oes.Mask`."""

    @property
    def share(self) -> float: ...
    def layers(self) -> dict[str, float]:
        """Kept share of every layer's parameters, by name, from input to output."""
        ...


def plot_mask_layers(mask: Layered) -> Figure:
    """Which share of its parameters every layer keeps, from input to output, beside that of all together.

    Layers that are kept whole, such as biases, are counted above and not drawn, unless all are.
    """
    layers = mask.layers()
    kept = {name: share for name, share in layers.items() if share < 1} or layers
    figure = new_figure(6.4, max(2.4, 0.6 + 0.16 * len(kept)))
    axis = figure.subplots()
    axis.barh(list(kept), [100 * share for share in kept.values()], color=COLOURS[1])
    axis.axvline(100 * mask.share, color="black", linestyle="--", linewidth=1, label=f"all layers, {mask.share:.2%}")
    axis.invert_yaxis()
    axis.margins(y=0.01)
    axis.tick_params(axis="y", labelsize=6)
    if len(kept) < len(layers):
        axis.set_title(f"{len(layers) - len(kept)} of {len(layers)} tensors are kept whole", fontsize=8, loc="left")
    axis.set(xlabel="kept parameters, %", ylabel="layer, from input to output")
    axis.legend(fontsize=8)
    return figure


def plot_stopping(result: Result) -> Figure:
    """Misfit and score by iteration, a curve for each run; a dot marks the least score, whose image is in `samples`.

    Raises:
        ValueError: the method has no stop rule.
    """
    if result.chosen is None:
        raise ValueError(f"{result.method} has no stop rule, so nothing was chosen; plot_result shows its misfit.")
    figure = new_figure(6.4, 4.8)
    above, below = figure.subplots(2, 1, sharex=True)
    scores, misfits = (values.flatten(1).cpu() for values in (result.score, result.misfit))
    for run, (score, chosen) in enumerate(zip(scores.T, result.chosen.flatten().tolist(), strict=True)):
        misfit = torch.where(score.isnan(), math.nan, misfits[:, run])  # the end of a run in a batch that goes on
        for axis, values in ((above, misfit), (below, score)):
            (line,) = axis.plot(values.numpy(), color=_colour(run))
            axis.plot(chosen, float(values[chosen]), "o", color=line.get_color(), label=f"iteration {chosen}")
    units = "units of the prior" if result.nfe else "units of y"
    above.set(ylabel=f"|A x - y|, {units}", yscale="log", title=result.method)
    judged = scores[scores.isfinite()]
    positive = bool(len(judged)) and bool((judged > 0).all())
    below.set(xlabel="iteration", ylabel="score of the stop rule", yscale="log" if positive else "linear")
    below.legend(fontsize=8)
    return figure


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]
