"""The drawings of the pages, made from the library's own geometry, masks, trajectories and kernels: NAME -> Figure."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from docs.render import figures_ct, figures_images, figures_sampling

FIGURES: dict[str, Callable[[], Figure]] = {
    "ct-parallel": figures_ct.parallel,
    "ct-fan": figures_ct.fan,
    "ct-cone": figures_ct.cone,
    "masks": figures_sampling.masks,
    "trajectories": figures_sampling.trajectories,
    "coils": figures_sampling.coils,
    "kernels": figures_images.kernels,
    "images": figures_images.images,
    "responses": figures_images.responses,
}


def write_all(folder: Path) -> None:
    """Write every figure as SVG, the same bytes each time."""
    folder.mkdir(exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "invdiff", "font.size": 9, "svg.fonttype": "path"}):
        for name, draw in FIGURES.items():
            draw().savefig(folder / f"{name}.svg", metadata={"Date": None}, facecolor="white")
