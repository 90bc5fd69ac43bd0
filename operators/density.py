"""w_j: the area (volume) of k-space, in units of (1 / field of view)^d, that sample j stands for.

With these weights A^H W y approximates the image of a finely sampled scan: gridding. On the full Cartesian grid w = 1.
They say nothing of noise: least squares do without them.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError, Voronoi, cKDTree
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.kernels.sparse import SparsePair
from invdiff.operators.oversampled_grid import OversampledGrid
from invdiff.operators.trajectory import checked_trajectory
from invdiff.shapes import Shape

RATIO, TAPS = 2.0, 5  # of the convolution: a narrower window leaves gaps in scans that are just dense enough
ROUNDING = 1e-9  # cycles per field of view below which a corner is not outside
Points = NDArray[np.float64]


def pipe_menon(trajectory: Any, shape: Shape, iterations: int = 30) -> Tensor:
    """Weights by the fixed point w <- w / (w * C), so that the weighted samples, smoothed by C, are even.

    C is the autocorrelation of the gridding window, scaled to unit integral; borders of k-space are periodic. Three
    dimensions take 4 kB of memory for each sample.

    Args:
        trajectory: (n, d) or (B, n, d), cycles per field of view. shape: (H, W) or (D, H, W).
        iterations: 1 or more; 10 are rough, 30 good.

    Returns:
        (n,) or (B, n) float32.

    Raises:
        TypeError, ValueError: see `checked_trajectory`.

    Source: Pipe and Menon, Sampling Density Compensation in MRI: Rationale and an Iterative Numerical Solution, 1999.
    """
    require("iterations", iterations, at_least=1)
    k = checked_trajectory(trajectory, shape, "pipe_menon")
    weights = torch.stack([_fixed_point(item, shape, iterations) for item in k])
    return weights if torch.as_tensor(trajectory).ndim == 3 else weights[0]


def _fixed_point(k: Tensor, shape: Shape, iterations: int) -> Tensor:
    grid = OversampledGrid(shape, RATIO, TAPS)
    index, weights = grid.stencil(k)
    for window, m, n in zip(grid.windows, grid.sizes, shape, strict=True):
        weights = weights / (window.transform(torch.zeros((), dtype=torch.float64)) * math.sqrt(n / m))
    smooth = SparsePair(index, weights, math.prod(grid.sizes))
    w = torch.ones(len(k), 1)
    for _ in range(iterations):
        w = w / smooth(smooth.transposed(w))
    return w[:, 0]


def voronoi(trajectory: Any, shape: Shape) -> Tensor:
    """Weights as the areas of the samples' Voronoi cells.

    Samples at one place share its cell. Cells at the border end at the convex hull of the trajectory, widened by half
    the distance between its corners and their nearest neighbours.

    Args:
        trajectory: (n, 2) or (B, n, 2), cycles per field of view. shape: (H, W).

    Returns:
        (n,) or (B, n) float32.

    Raises:
        TypeError, ValueError: see `checked_trajectory`; three dimensions; samples that all lie on one line.

    Source: Rasche et al., Resampling of Data Between Arbitrary Grids Using Convolution Interpolation, 1999.
    """
    if len(shape) != 2:
        raise ValueError(f"voronoi takes images (H, W), got {tuple(shape)}. Use pipe_menon, or weights of your own.")
    k = checked_trajectory(trajectory, shape, "voronoi")
    weights = torch.stack([torch.from_numpy(_cell_areas(item.numpy())).float() for item in k])
    return weights if torch.as_tensor(trajectory).ndim == 3 else weights[0]


def _cell_areas(k: Points) -> Points:
    places, owner, count = np.unique(k.round(9), axis=0, return_inverse=True, return_counts=True)
    try:
        hull = ConvexHull(places)
    except (QhullError, ValueError) as error:
        raise ValueError(
            f"voronoi: the {len(places)} places of the trajectory lie on one line, so they have no cells. "
            "Use pipe_menon, or weights of your own."
        ) from error
    turn = 2 * np.pi * np.arange(8) / 8
    far = places.mean(0) + 20 * np.abs(places).max() * np.stack((np.cos(turn), np.sin(turn)), 1)
    diagram = Voronoi(np.concatenate((places, far)))  # far points close the cells at the border
    normals, offsets = _widened(hull)
    areas = _areas(diagram)[: len(places)]
    for i in _overreaching(diagram, normals, offsets):
        if i < len(places):
            areas[i] = _polygon_area(_clipped(_cell(diagram, i), normals, offsets))
    return (areas / count)[owner.reshape(-1)]


def _areas(diagram: Voronoi) -> Points:
    """Areas of all closed cells: the triangles over their edges."""
    edges, pairs = np.asarray(diagram.ridge_vertices), diagram.ridge_points
    closed = (edges >= 0).all(1)
    start, end = (diagram.vertices[edges[closed, side]] for side in (0, 1))
    areas = np.zeros(len(diagram.points))
    for side in (0, 1):
        owner = pairs[closed, side]
        a, b = start - diagram.points[owner], end - diagram.points[owner]
        areas += np.bincount(owner, np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2, minlength=len(areas))
    return areas


def _widened(hull: ConvexHull) -> tuple[Points, Points]:
    """Unit normals (h, 2) and limits (h,) of the half-planes normal . k <= limit that bound the cells."""
    corners = hull.points[hull.vertices]
    nearest, _ = cKDTree(hull.points).query(corners, k=2)
    return hull.equations[:, :2], float(np.median(nearest[:, 1])) / 2 - hull.equations[:, 2]


def _overreaching(diagram: Voronoi, normals: Points, limits: Points) -> Points:
    """Indices of the cells with a corner outside the half-planes."""
    centre = diagram.points.mean(0)
    sure = np.linalg.norm(diagram.vertices - centre, axis=1) < (limits - normals @ centre).min()
    outside = np.zeros(len(sure), bool)
    far = np.flatnonzero(~sure)
    for part in np.array_split(far, len(far) // 4096 + 1):
        outside[part] = (diagram.vertices[part] @ normals.T > limits + ROUNDING).any(1)
    edges = np.asarray(diagram.ridge_vertices)
    return np.unique(diagram.ridge_points[(outside[edges] | (edges < 0)).any(1)])


def _cell(diagram: Voronoi, i: int) -> Points:
    """Corners of a closed cell in order, (m, 2)."""
    corners = diagram.vertices[diagram.regions[diagram.point_region[i]]]
    away = corners - diagram.points[i]
    return corners[np.argsort(np.arctan2(away[:, 1], away[:, 0]))]


def _clipped(polygon: Points, normals: Points, limits: Points) -> Points:
    """The part of a convex polygon inside the half-planes, cut by the one it violates most until none is left."""
    while True:
        depth = polygon @ normals.T - limits  # positive outside
        worst = depth.max(0).argmax()
        if depth[:, worst].max() <= ROUNDING:
            return polygon
        polygon = _cut(polygon, depth[:, worst])


def _cut(polygon: Points, depth: Points) -> Points:
    """The corners at negative depth, and the points of the edges at depth 0."""
    corners = []
    for i, (p, a) in enumerate(zip(polygon, depth, strict=True)):
        q, b = polygon[i - 1], depth[i - 1]  # the corner before
        if a * b < 0:
            corners.append(p + a / (a - b) * (q - p))
        if a <= 0:
            corners.append(p)
    return np.array(corners)


def _polygon_area(polygon: Points) -> float:
    x, y = polygon.T
    return float(np.abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
