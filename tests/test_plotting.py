"""Figures hold the images they are given."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import image as files
from matplotlib.axes import Axes

import invdiff
from invdiff.operators import CartesianMRI, Identity
from invdiff.plotting import (
    Panel,
    Point,
    gallery,
    plot_convergence,
    plot_image,
    plot_kspace,
    plot_mask,
    plot_mask_layers,
    plot_phase,
    plot_quality,
    plot_samples,
    plot_sinogram,
    plot_stopping,
    plot_trajectory,
    save_figure,
)
from invdiff.priors.gaussian import GaussianPrior
from invdiff.result import Result
from invdiff.solvers.oes import Mask
from invdiff.units import identity


def test_a_notebook_shows_a_figure_without_pyplot() -> None:
    assert plot_image(np.eye(4))._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_a_gallery_shows_each_image_on_its_own_scale(tmp_path: Path) -> None:
    panels = [Panel(f"{i}", np.full((4, 4), 10.0**i, dtype=np.float32), f"caption {i}") for i in range(5)]
    figure = gallery(panels, 3, "title")
    shown = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title() for axis in shown] == ["0", "1", "2", "3", "4"]
    assert [axis.get_xlabel() for axis in shown][2] == "caption 2"
    assert [axis.images[0].get_clim() for axis in shown] == [(0, 10.0**i) for i in range(5)]
    shared = gallery(panels, 3, window=(-250.0, 350.0))
    assert {axis.images[0].get_clim() for axis in shared.axes if axis.axison} == {(-250.0, 350.0)}
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


def test_a_run_that_ended_before_its_first_score_is_drawn(tmp_path: Path) -> None:
    score = torch.full((4, 1, 1), float("inf"))
    figure = plot_stopping(fitted(score, torch.ones(4, 1, 1)))
    assert marks(figure.axes[0]) == [[3, 1.0]], "its last image is what it returned"
    assert figure.axes[0].get_ylabel() == "|A x - y|, units of y"
    save_figure(figure, tmp_path / "out.png", dpi=30)


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
    whole = {"first.bias": torch.ones(3, dtype=torch.bool)}
    axis = plot_mask_layers(Mask(keep | whole, {}, 0)).axes[0]
    assert len(axis.patches) == 2, "a bar of 100 % says nothing"
    assert axis.get_title(loc="left") == "1 of 3 tensors are kept whole"
    assert len(plot_mask_layers(Mask(whole, {}, 0)).axes[0].patches) == 1


def test_the_strongest_place_of_kspace_is_zero_frequency() -> None:
    """A constant image: its one value is at the centre, whose axes read 0, on odd and even sizes."""
    for shape in ((5, 8), (8, 5)):
        op = CartesianMRI(torch.ones(shape[1], dtype=torch.bool), shape=shape)
        y = op(torch.ones(1, 1, *shape, dtype=torch.complex64))
        drawn = plot_kspace(y).axes[0].images[0]
        row, column = np.unravel_index(np.argmax(drawn.get_array()), shape)
        left, right, bottom, top = drawn.get_extent()
        assert (left + column + 0.5, top + row + 0.5) == (0, 0)
        assert (right - left, bottom - top) == (shape[1], shape[0])
    assert drawn.get_clim() == (-4, 0)
    assert bool(np.isfinite(drawn.get_array()).all())  # zeros are drawn, as black


def test_a_mask_of_lines_says_how_much_it_samples() -> None:
    axis = plot_mask(torch.arange(8) % 4 == 0, (6, 8)).axes[0]
    assert axis.get_title() == "25.0% sampled, 4-fold undersampled"
    assert axis.images[0].get_array().shape == (6, 8)
    with pytest.raises(ValueError, match="needs the shape"):
        plot_mask(torch.ones(8, dtype=torch.bool))


def test_a_trajectory_is_drawn_as_images_are() -> None:
    """The last axis is (row, column): columns go right, rows down."""
    points = torch.tensor([[[0.0, 0.0], [3.0, 1.0]], [[0.0, 0.0], [-1.0, 2.0]], [[0.0, 0.0], [1.0, -2.0]]])
    axis = plot_trajectory(points).axes[0]
    first = next(line for line in axis.lines if line.get_label() == "first")
    assert first.get_xydata()[-1].tolist() == [1, 3]
    assert axis.yaxis_inverted()
    with pytest.raises(ValueError, match=r"\(read-out, sample, 2\)"):
        plot_trajectory(torch.ones(4, 3))


def test_a_sinogram_has_degrees_and_millimetres() -> None:
    axis = plot_sinogram(torch.rand(1, 1, 4, 10), torch.arange(4) * math.pi / 4, bin_width=2.0).axes[0]
    assert axis.images[0].get_extent()[:2] == [-10, 10]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0", "45", "90", "135"]
    with pytest.raises(ValueError, match="needs 4 angles"):
        plot_sinogram(torch.rand(4, 10), torch.zeros(3))


def test_an_image_keeps_its_unit_window_and_size() -> None:
    figure = plot_image(torch.linspace(-1000, 1000, 24).reshape(1, 1, 4, 6), unit="HU", window=(-160, 240), spacing=2.0)
    drawn = figure.axes[0].images[0]
    assert (drawn.get_clim(), figure.axes[1].get_ylabel()) == ((-160, 240), "HU")
    assert drawn.get_extent() == [-6, 6, -4, 4]
    assert float(drawn.get_array().min()) == -1000  # a real image keeps its sign


def test_phase_is_shown_where_there_is_signal_only() -> None:
    image = torch.polar(torch.tensor([[1.0, 0.01]]), torch.tensor([[3.0, 1.0]]))
    phase = plot_phase(image).axes[1].images[0].get_array()
    assert float(phase[0, 0]) == pytest.approx(3.0)
    assert bool(np.ma.getmaskarray(np.ma.masked_invalid(phase))[0, 1])
    with pytest.raises(TypeError, match="no phase"):
        plot_phase(image.abs())


def run(method: str, **more: Any) -> Result:
    op = Identity((1, 8, 8))
    y = op.simulate(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)), 0.1)
    prior = GaussianPrior.stationary(torch.zeros(1, 8, 8), torch.ones(1, 8, 8))
    return invdiff.solve(y, op, prior, method, sigma_y=0.1, seed=0, **more)


def test_the_error_of_a_real_image_knows_its_sign() -> None:
    x = torch.ones(1, 1, 4, 4)
    x[..., :2] = -1
    result = invdiff.solve(x, Identity((1, 4, 4)), method="adjoint")
    image, error = (axis.images[0] for axis in result.plot(truth=-x).axes[:2])
    assert float(image.get_array().min()) == image.get_clim()[0] == -1
    assert float(error.get_array().min()) == 2
    with pytest.raises(ValueError, match=r"the truth is \(4, 3\) and the image \(4, 4\)"):
        result.plot(truth=x[..., :3])


def test_samples_stand_beside_their_mean_and_spread() -> None:
    result = run("diffpir", steps=3, num_samples=3)
    figure = plot_samples(result, most=2)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["sample 0", "sample 1", "mean of 3", "standard deviation"]
    with pytest.raises(ValueError, match="num_samples=4"):
        plot_samples(run("diffpir", steps=3))


def test_convergence_has_a_line_for_each_method_that_tracks_its_misfit() -> None:
    axis = plot_convergence([run("dps", steps=3), run("diffpir", steps=3), run("dps", steps=4)]).axes[0]
    assert [line.get_label() for line in axis.lines] == ["dps", "dps"]
    assert [len(line.get_xdata()) for line in axis.lines] == [3, 4]
    assert axis.get_title(loc="left") == "not drawn, as they take no misfit by step: diffpir"
    assert plot_convergence([run("dps", steps=3)]).axes[0].get_title(loc="left") == ""
    with pytest.raises(ValueError, match="none of these"):
        plot_convergence([run("diffpir", steps=3)])
    assert len(run("dps", steps=3).plot().axes) == 2
    assert len(run("diffpir", steps=3).plot().axes) == 1  # no empty panel


def test_quality_is_drawn_against_evaluations_and_seconds() -> None:
    points = [Point("tv", 31.0, 0, 2.0), Point("dds", 33.0, 50, 5.0)]
    left, right = plot_quality(points).axes
    assert [line.get_xydata().tolist()[0] for line in left.lines] == [[0, 31.0], [50, 33.0]]
    assert [line.get_xydata().tolist()[0] for line in right.lines] == [[2.0, 31.0], [5.0, 33.0]]
    assert len({(line.get_color(), line.get_marker()) for line in left.lines}) == 2
    with pytest.raises(ValueError, match="no method"):
        plot_quality([])


def test_coinciding_points_are_nested() -> None:
    """tv and wavelet cost no evaluations and are as good; in seconds they lie apart."""
    points = [Point("tv", 31.0, 0, 2.0), Point("wavelet", 31.0, 0, 20.0), Point("dds", 33.0, 50, 90.0)]
    left, right = (axis.lines for axis in plot_quality(points).axes)
    small, large, other = (line.get_markersize() for line in left)
    assert large > 1.5 * small == 1.5 * other
    assert len({line.get_markersize() for line in right}) == 1
    assert {line.get_markerfacecolor() for line in [*left, *right]} == {"none"}


def test_conjugates_that_torch_has_not_worked_out_are_drawn() -> None:
    image = torch.polar(torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 2.0]])).conj()
    assert image.is_conj()
    assert float(plot_phase(image).axes[1].images[0].get_array()[0, 0]) == pytest.approx(-1.0)
