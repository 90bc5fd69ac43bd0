"""Figures hold the images they are given."""

from pathlib import Path

import numpy as np
from matplotlib import image as files

from invdiff.plotting import Panel, gallery, save_figure


def test_a_gallery_shows_each_image_on_its_own_scale(tmp_path: Path) -> None:
    panels = [Panel(f"{i}", np.full((4, 4), 10.0**i, dtype=np.float32), f"caption {i}") for i in range(5)]
    figure = gallery(panels, 3, "title")
    shown = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title() for axis in shown] == ["0", "1", "2", "3", "4"]
    assert [axis.get_xlabel() for axis in shown][2] == "caption 2"
    assert [axis.images[0].get_clim() for axis in shown] == [(0, 10.0**i) for i in range(5)]
    save_figure(figure, tmp_path / "out.png", dpi=30)
    assert files.imread(tmp_path / "out.png").ndim == 3
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
