"""Where the rays of a scan run, drawn from the geometry that the projectors use."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from invdiff.operators.ct_cone_geometry import ConeGeometry
from invdiff.operators.ct_geometry import FanGeometry, Geometry, ParallelGeometry

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
VIEW = 0.5  # radians, of the view that is drawn


def parallel() -> Figure:
    """One view of a parallel beam."""
    geometry = ParallelGeometry((VIEW,), (8, 8), 13, bin_width=10.0, pixel=(10.0, 10.0))
    figure, axis = _plane("parallel beam: x cos t + y sin t = s", 135)
    _image(axis, geometry)
    c, s = math.cos(VIEW), math.sin(VIEW)
    for u in geometry.detector_positions().tolist():
        axis.plot(*_segment(u * c, u * s, -s, c, 85), color=BLUE, lw=0.6)
    _arrow(axis, (-70, -110), (-s, c), 50, BLUE, "")
    axis.annotate("rays run along\n(-sin t, cos t)", (-66, -112), color=BLUE, fontsize=8)
    _detector(axis, geometry, 88)
    _angle(axis)
    return figure


def fan() -> Figure:
    """One view of a fan beam with a flat detector."""
    geometry = FanGeometry(
        (VIEW,), (8, 8), 13, bin_width=14.0, pixel=(10.0, 10.0), source_distance=110.0, detector_distance=70.0
    )
    figure, axis = _plane("fan beam, flat detector:\nx cos(t - g) + y sin(t - g) = R sin g", 165)
    _image(axis, geometry)
    c, s = math.cos(VIEW), math.sin(VIEW)
    source = np.array([s, -c]) * geometry.source_distance
    for u in geometry.detector_positions().tolist():
        end = np.array([-s, c]) * geometry.detector_distance + u * np.array([c, s])
        axis.plot(*zip(source, end, strict=True), color=BLUE, lw=0.6)
    axis.add_patch(Circle((0, 0), geometry.field_of_view, fill=False, ec=GREEN, ls="--", lw=1))
    axis.annotate("field of view", (-geometry.field_of_view, 0), color=GREEN, ha="right", fontsize=8)
    axis.add_patch(Circle((0, 0), geometry.source_distance, fill=False, ec=GREY, ls=":", lw=0.8))
    axis.plot(*source, "o", color=ORANGE)
    axis.annotate(
        "source\nR (sin t, -cos t)", (source[0], source[1]), xytext=(10, -14), textcoords="offset points", color=ORANGE
    )
    _detector(axis, geometry, geometry.detector_distance)
    _angle(axis)
    return figure


def cone() -> Figure:
    """The plane through the axis of a cone-beam scan, and the detector."""
    geometry = ConeGeometry(
        (0.0,),
        (6, 8, 8),
        rows=9,
        bins=13,
        bin_width=14.0,
        row_height=14.0,
        pixel=(10.0, 10.0, 10.0),
        source_distance=110.0,
        detector_distance=70.0,
    )
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    side, face = figure.subplots(1, 2, width_ratios=(3, 2))
    low, high = geometry.z_range
    half = geometry.fan.reach / math.sqrt(2)
    side.add_patch(Rectangle((-half, low), 2 * half, high - low, fc="#dddddd", ec="black"))
    for v in geometry.row_positions().tolist():
        side.plot((-geometry.source_distance, geometry.detector_distance), (0, v), color=BLUE, lw=0.6)
    side.plot(-geometry.source_distance, 0, "o", color=ORANGE)
    side.annotate("source", (-geometry.source_distance, 6), color=ORANGE, ha="center")
    side.plot([geometry.detector_distance] * 2, geometry.row_edges, color="black", lw=3)
    side.axhline(0, color=GREY, ls=":", lw=0.8)
    side.axvline(0, color=GREY, ls=":", lw=0.8)
    side.annotate("axis of rotation", (2, -68), color=GREY, fontsize=8)
    side.set(xlabel="along the central ray, mm", ylabel="z, mm", title="z = v depth / D", aspect="equal")
    side.set(xlim=(-125, 85), ylim=(-75, 75))
    u, v = np.meshgrid(geometry.fan.detector_positions(), geometry.row_positions())
    face.plot(u, v, ".", color="black", ms=3)
    _arrow(face, (0, 0), (1, 0), 60, BLUE, "u: bins")
    _arrow(face, (0, 0), (0, 1), 40, BLUE, "v: rows")
    face.set(xlabel="u, mm", ylabel="v, mm", title="detector: row 0 lowest", aspect="equal")
    return figure


def _plane(title: str, reach: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
    axis.set(xlabel="x, mm (columns, to the right)", ylabel="y, mm (up; row 0 is on top)")
    return figure, axis


def _image(axis: Axes, geometry: Geometry) -> None:
    """The grid of pixels, with the first one marked."""
    y, x = (values.numpy() for values in geometry.coordinates())
    dy, dx = geometry.pixel
    for row in y:
        for column in x:
            first = row == y[0] and column == x[0]
            corner = (column - dx / 2, row - dy / 2)
            axis.add_patch(Rectangle(corner, dx, dy, fc="#bbbbbb" if first else "#eeeeee", ec="white", lw=0.5))
    corner = (x[0] - dx / 2, y[0] + dy / 2)
    axis.annotate("pixel (0, 0)", corner, xytext=(-4, 6), textcoords="offset points", fontsize=8)
    axis.plot(0, 0, "+", color="black")


def _detector(axis: Axes, geometry: Geometry, distance: float) -> None:
    """Bins on a line at a distance behind the axis; bin 0 and the direction of u."""
    c, s = math.cos(VIEW), math.sin(VIEW)
    place = [(-s * distance + u * c, c * distance + u * s) for u in geometry.detector_positions().tolist()]
    axis.plot(*zip(*place, strict=True), "s", color="black", ms=5)
    axis.annotate("bin 0", place[0], xytext=(-8, 4), textcoords="offset points", ha="right", fontsize=8)
    _arrow(axis, place[-1], (c, s), 18, "black", "u")


def _angle(axis: Axes) -> None:
    """The view angle t, from the x axis to the direction of u."""
    c, s = math.cos(VIEW), math.sin(VIEW)
    axis.plot((0, 75), (0, 0), color=GREY, lw=0.8)
    axis.plot((0, 75 * c), (0, 75 * s), color=ORANGE, lw=1)
    turn = np.linspace(0, VIEW, 20)
    axis.plot(55 * np.cos(turn), 55 * np.sin(turn), color=ORANGE, lw=1)
    axis.annotate("t", (60 * math.cos(VIEW / 2), 60 * math.sin(VIEW / 2)), color=ORANGE)


def _segment(x: float, y: float, dx: float, dy: float, half: float) -> tuple[list[float], list[float]]:
    return [x - half * dx, x + half * dx], [y - half * dy, y + half * dy]


def _arrow(
    axis: Axes, start: tuple[float, float], step: tuple[float, float], length: float, color: str, text: str
) -> None:
    end = (start[0] + length * step[0], start[1] + length * step[1])
    axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color, "lw": 1.5})
    axis.annotate(text, end, xytext=(3, 3), textcoords="offset points", color=color, fontsize=8)
