"""Figures that can be printed: errors on one scale, units on every axis, colours that the colour-blind tell apart."""

from invdiff.plotting.figure import Image, magnitude, save_figure
from invdiff.plotting.measurements import plot_kspace, plot_mask, plot_sinogram, plot_trajectory
from invdiff.plotting.panels import GAIN, Panel, compare, gallery, plot_image, plot_phase
from invdiff.plotting.results import (
    Layered,
    Point,
    plot_convergence,
    plot_mask_layers,
    plot_quality,
    plot_result,
    plot_samples,
    plot_stopping,
)

__all__ = [
    "GAIN",
    "Image",
    "Layered",
    "Panel",
    "Point",
    "compare",
    "gallery",
    "magnitude",
    "plot_convergence",
    "plot_image",
    "plot_kspace",
    "plot_mask",
    "plot_mask_layers",
    "plot_phase",
    "plot_quality",
    "plot_result",
    "plot_samples",
    "plot_sinogram",
    "plot_stopping",
    "plot_trajectory",
    "save_figure",
]
