"""What every figure starts from: a canvas without a window, one way to draw an image, one way to write a file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from invdiff.files import write_whole

Image = npt.NDArray[np.float32]
Array = npt.NDArray[Any]

# Okabe and Ito (2008): eight colours that people with any colour vision tell apart; black first, yellow left out.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # of points, so that no colour stands for two


class Shown(Figure):
    """A figure that Jupyter shows at the end of a cell, as it does by itself only after `import matplotlib.pyplot`."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, which no window and no other figure knows of."""
    figure = Shown(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_array(x: Tensor | npt.ArrayLike) -> Array:
    """A tensor of any device, or what numpy takes, as an array."""
    return x.detach().cpu().resolve_conj().resolve_neg().numpy() if isinstance(x, Tensor) else np.asarray(x)


def first_of(array: Array, axes: int) -> Array:
    """The first item, down to so many axes."""
    while array.ndim > axes:
        array = array[0]
    return array


def first_image(x: Tensor | npt.ArrayLike) -> Array:
    """The first item and channel of an image, (H, W), real or complex.

    Raises:
        ValueError: fewer than two axes.
    """
    array = as_array(x)
    if array.ndim < 2:
        raise ValueError(f"an image has two axes or more, (..., H, W); got {array.shape}.")
    return first_of(array, 2)


def magnitude(x: Tensor | npt.ArrayLike) -> Image:
    """|x| of the first item and channel, (H, W) float32."""
    return np.abs(first_image(x)).astype(np.float32)


def displayed(x: Tensor | npt.ArrayLike) -> Image:
    """A real image with its sign, |x| of a complex one: the first item and channel, (H, W) float32."""
    image = first_image(x)
    return np.asarray(np.abs(image) if np.iscomplexobj(image) else image, dtype=np.float32)


def show(
    axis: Axes, image: Array, window: tuple[float, float], title: str, caption: str, cmap: str = "gray", **more: Any
) -> Any:
    """Draw an image, first row on top, from window[0] to window[1]; returns what a colour bar needs."""
    bottom, top = window
    top = top if top > bottom else bottom + 1.0  # a constant image
    drawn = axis.imshow(image, cmap=cmap, vmin=bottom, vmax=top, **{"interpolation": "nearest"} | more)
    if "extent" not in more:
        axis.set_xticks([])
        axis.set_yticks([])
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(caption, fontsize=8)
    return drawn


def check_figure(path: Path) -> None:
    """Refuse, before any work, a path that `save_figure` could not write.

    Raises:
        ValueError: a folder that does not exist, or no suffix of a format.
    """
    formats = FigureCanvasBase.get_supported_filetypes()
    if not path.parent.is_dir() or path.suffix.removeprefix(".").lower() not in formats:
        raise ValueError(f"a figure is a file .{', .'.join(sorted(formats))} in a folder that exists, got {path}.")


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write the figure whole or not at all; the suffix of `path` gives the format."""
    write_whole(path, lambda partial: figure.savefig(partial, dpi=dpi, format=path.suffix.removeprefix(".") or None))
