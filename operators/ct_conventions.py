"""The same rays in other packages' words: scikit-image's radon and ASTRA's two-dimensional geometries.

scikit-image turns about pixel (n // 2, n // 2), half a pixel from the middle of an even image, counts angles in degrees
and stores sinograms (bin, view). ASTRA's axes and signs are ours (see `ct_geometry`); its sinograms are (view, bin).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from invdiff.operators.ct_geometry import FanGeometry, Geometry, ParallelGeometry

TOLERANCE = 1e-6  # relative, within which vectors must agree with a circular scan


def from_scikit_image(theta: Any, n: int, circle: bool = True, pixel: float = 1.0) -> ParallelGeometry:
    """Geometry of `skimage.transform.radon(image, theta, circle)` for an n x n image.

    Its sinogram, transposed to (view, bin), is our A x up to interpolation, with pixel = 1 (theirs has no unit).

    Args:
        theta: degrees, (view,).
        circle: as given to radon; False pads the image to its diagonal.
        pixel: size in mm.
    """
    bins = n if circle else math.ceil(math.sqrt(2) * n)
    return ParallelGeometry(
        tuple(torch.deg2rad(torch.as_tensor(theta, dtype=torch.float64)).tolist()),
        (n, n),
        bins,
        bin_width=pixel,
        pixel=(pixel, pixel),
        offset=(bins - 1) / 2 - bins // 2,
        center=((n // 2 - (n - 1) / 2) * pixel, ((n - 1) / 2 - n // 2) * pixel),
    )


def to_scikit_image(geometry: Geometry) -> tuple[Tensor, bool]:
    """theta in degrees, (view,) float64, and circle, for which radon measures these rays.

    Raises:
        ValueError: radon cannot; the message says what differs.
    """
    (n, width), pixel = geometry.shape, geometry.pixel[0]
    theta = torch.rad2deg(torch.tensor(geometry.angles, dtype=torch.float64))
    for circle in (True, False):
        twin = from_scikit_image(theta, n, circle, pixel)
        if n == width and isinstance(geometry, ParallelGeometry) and _values(twin) == _values(geometry):
            return theta, circle
    raise ValueError(
        f"scikit-image's radon has no such rays: of a square image it knows what from_scikit_image(theta, {n}) gives "
        f"(turned about pixel n // 2, bins as wide as pixels), got {geometry}."
    )


def to_astra(geometry: Geometry) -> tuple[dict[str, Any], dict[str, Any]]:
    """Projection and volume geometry, as astra.create_proj_geom(..._vec) and astra.create_vol_geom make them.

    Raises:
        ValueError: a curved detector, which ASTRA has not in two dimensions.
    """
    t = torch.tensor(geometry.angles, dtype=torch.float64)
    across, along = torch.stack((t.cos(), t.sin()), 1), torch.stack((-t.sin(), t.cos()), 1)
    middle = geometry.offset * geometry.bin_width * across
    if isinstance(geometry, FanGeometry):
        if geometry.detector != "flat":
            raise ValueError("ASTRA has no curved detectors in two dimensions; rebin the sinogram to a flat one.")
        kind, first = "fanflat_vec", -geometry.source_distance * along
        middle = middle + geometry.detector_distance * along
    else:
        kind, first = "parallel_vec", -along
    vectors = torch.cat((first, middle, geometry.bin_width * across), 1)
    volume = {"GridRowCount": geometry.shape[0], "GridColCount": geometry.shape[1], "option": _window(geometry)}
    return {"type": kind, "DetectorCount": geometry.bins, "Vectors": vectors.numpy()}, volume


def from_astra(projection: Mapping[str, Any], volume: Mapping[str, Any]) -> Geometry:
    """The geometry of ASTRA's dictionaries: parallel, fanflat and their _vec forms where these describe a circle.

    Raises:
        ValueError: another type; vectors of no circular scan.
    """
    shape = (int(volume["GridRowCount"]), int(volume["GridColCount"]))
    window = volume.get("option", {})
    sides = [
        (window.get(f"WindowMin{a}", -n / 2), window.get(f"WindowMax{a}", n / 2))
        for a, n in zip("YX", shape, strict=True)
    ]
    pixel = [(high - low) / n for (low, high), n in zip(sides, shape, strict=True)]
    image: dict[str, Any] = {
        "shape": shape,
        "pixel": pixel,
        "center": [(low + high) / 2 for low, high in sides],
        "bins": int(projection["DetectorCount"]),
    }
    kind = projection["type"]
    if kind in ("parallel", "fanflat"):
        scan: dict[str, Any] = {"angles": projection["ProjectionAngles"], "bin_width": projection["DetectorWidth"]}
        if kind == "fanflat":
            scan["source_distance"] = projection["DistanceOriginSource"]
            scan["detector_distance"] = projection["DistanceOriginDetector"]
    elif kind in ("parallel_vec", "fanflat_vec"):
        scan = _circular(torch.as_tensor(projection["Vectors"], dtype=torch.float64), kind == "fanflat_vec")
    else:
        raise ValueError(
            f"ASTRA's projection type must be parallel, fanflat, parallel_vec or fanflat_vec, got {kind!r}."
        )
    return FanGeometry(**image, **scan) if "source_distance" in scan else ParallelGeometry(**image, **scan)


def _circular(vectors: Tensor, fan: bool) -> dict[str, Any]:
    """Angles and lengths of the scan on a circle that has these vectors, (view, 6)."""
    first, middle, bin_step = vectors.split(2, 1)
    t = torch.atan2(bin_step[:, 1], bin_step[:, 0])
    across, along = torch.stack((t.cos(), t.sin()), 1), torch.stack((-t.sin(), t.cos()), 1)
    width = _constant("the bin widths", bin_step.norm(dim=1))
    scan: dict[str, Any] = {"angles": t, "bin_width": width}
    scan["offset"] = _constant("the detector's offsets", (middle * across).sum(1) / width)
    if fan:
        scan["source_distance"] = _constant("the source's distances from the axis", -(first * along).sum(1))
        scan["detector_distance"] = _constant("the detector's distances from the axis", (middle * along).sum(1))
        if scan["source_distance"] < 0:
            raise ValueError("these bins count the other way round the axis; reverse the vectors u and y.flip(-1).")
    sideways = (first * across).sum(1).abs() / first.norm(dim=1)
    if float(sideways.max()) > TOLERANCE:
        raise ValueError("the central rays must be at right angles to the detector in every view; rebin the sinogram.")
    return scan


def _constant(what: str, values: Tensor) -> float:
    mean = float(values.mean())
    if float((values - mean).abs().max()) > TOLERANCE * max(1.0, abs(mean)):
        raise ValueError(
            f"{what} vary between the views, {float(values.min()):.6g} to {float(values.max()):.6g}: no circular scan."
        )
    return mean


def _window(geometry: Geometry) -> dict[str, float]:
    """Where the image's edges are, mm."""
    edges: dict[str, float] = {}
    for axis, n, d, c in zip("YX", geometry.shape, geometry.pixel, geometry.center, strict=True):
        edges |= {f"WindowMin{axis}": c - n * d / 2, f"WindowMax{axis}": c + n * d / 2}
    return edges


def _values(geometry: Geometry) -> tuple[Any, ...]:
    """All but the angles."""
    return geometry.shape, geometry.bins, geometry.bin_width, geometry.pixel, geometry.offset, geometry.center
