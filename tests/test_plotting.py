"""Figures hold the images they are given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import image as files
from matplotlib.axes import Axes

import invdiff
from invdiff.operators import Identity
from invdiff.plotting import Panel, gallery, plot_mask_layers, plot_stopping, save_figure
from invdiff.result import Result
from invdiff.solvers.oes import Mask
from invdiff.units import identity


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


def fitted(score: torch.Tensor, misfit: torch.Tensor) -> Result:
    """The record of a network fitted to a scan."""
    one = torch.ones(1, 1, 4, 4)
    blank: dict[str, Any] = {"options": {}, "nfe": 0, "vjps": 0, "seconds": 0.0, "chi2": None, "sigma_y": None}
    blank |= {"units": identity(1), "seed": 0, "status": "finished", "reference": ""}
    return Result(one, one[None], one, None, "dip", misfit=misfit, score=score, **blank)


def marks(axis: Axes) -> list[list[float]]:
    """(iteration, value) of the dots."""
    return [line.get_xydata().tolist()[0] for line in axis.lines if line.get_marker() == "o"]


def test_the_chosen_iterate_of_every_run_is_marked(tmp_path: Path) -> None:
    inf, nan = float("inf"), float("nan")
    score = torch.tensor([[[inf, inf]], [[3.0, 2.0]], [[1.0, 4.0]], [[5.0, nan]]])  # two runs, of which one ended
    misfit = torch.tensor([[[8.0, 9.0]], [[4.0, 5.0]], [[2.0, 3.0]], [[1.0, nan]]])
    figure = plot_stopping(fitted(score, misfit))
    above, below = figure.axes
    assert marks(above) == [[2, 2.0], [1, 5.0]]
    assert marks(below) == [[2, 1.0], [1, 2.0]]
    assert [text.get_text() for text in below.get_legend().get_texts()] == ["iteration 2", "iteration 1"]
    assert (above.get_yscale(), below.get_yscale()) == ("log", "log")
    assert (below.get_xlabel(), below.get_ylabel()) == ("iteration", "score of the stop rule")
    assert plot_stopping(fitted(-score, misfit)).axes[1].get_yscale() == "linear"
    save_figure(figure, tmp_path / "out.png", dpi=30)
    with pytest.raises(ValueError, match="dip has no stop rule"):
        plot_stopping(fitted(torch.empty(0), misfit))


def test_the_score_of_a_fit_ends_with_its_run() -> None:
    """The marked iterate is the one that was returned, though other runs of the batch went on."""
    op = Identity((1, 16, 16))
    y = op.simulate(torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)), 0.1)
    options: dict[str, Any] = {"iterations": 25, "channels": 8, "average": 1.0, "stop": "discrepancy"}
    result = invdiff.solve(y, op, None, "dip", sigma_y=torch.tensor([0.3, 1e-4]), seed=0, **options)
    first, second = (~result.score[:, :, 0].isnan()).sum(0).tolist()
    assert first < second == 25
    assert marks(plot_stopping(result).axes[1])[0][0] == first - 1


def test_layers_of_a_mask_are_bars_from_input_to_output() -> None:
    keep = {"first": torch.tensor([True, False]), "second.weight": torch.tensor([True, True, True, False])}
    axis = plot_mask_layers(Mask(keep, {}, 0)).axes[0]
    assert [bar.get_width() for bar in axis.patches] == [50, 75]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["first", "second.weight"]
    assert axis.yaxis_inverted()
    assert axis.lines[0].get_xdata()[0] == pytest.approx(100 * 4 / 6)
    assert "all layers, 66.67%" in axis.get_legend().get_texts()[0].get_text()
    assert axis.get_xlabel() == "kept parameters, %"
