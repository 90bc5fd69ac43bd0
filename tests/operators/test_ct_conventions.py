"""The same rays in scikit-image's and ASTRA's words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.transform import radon

from invdiff.data.ellipses import eight_ellipses, ellipse_image
from invdiff.operators.ct import Projector
from invdiff.operators.ct_conventions import from_astra, from_scikit_image, to_astra, to_scikit_image
from invdiff.operators.ct_geometry import FanGeometry, Geometry, ParallelGeometry

THETA = np.array([0.0, 20.0, 90.0, 135.0, 250.0])
FAN = FanGeometry(
    (0.1, 2.0, -1.0), (9, 7), 12, bin_width=1.5, pixel=(1.0, 1.2), offset=0.25, center=(2.0, -1.0),
    source_distance=30.0, detector_distance=20.0,
)  # fmt: skip
PARALLEL = ParallelGeometry((0.1, 2.0, -1.0), (9, 7), 12, bin_width=0.5, pixel=(1.0, 1.2), offset=-3.0)


@pytest.mark.parametrize("n", [64, 65])
@pytest.mark.parametrize("circle", [True, False])
def test_rays_of_radon(n: int, circle: bool) -> None:
    x = ellipse_image(eight_ellipses(0.47 * n), (n, n))
    theirs = torch.from_numpy(radon(x.numpy(), THETA, circle=circle)).T
    geometry = from_scikit_image(THETA, n, circle)
    y = Projector(geometry).double()(x[None, None])[0, 0]
    assert y.shape == theirs.shape
    assert float((y - theirs).norm() / theirs.norm()) < 0.012  # two interpolations; half a pixel off gives 4 % and more
    moved = Projector(replace(geometry, offset=geometry.offset + 0.5)).double()(x[None, None])[0, 0]
    assert float((moved - theirs).norm() / theirs.norm()) > 0.03
    theta, found = to_scikit_image(geometry)
    assert found == circle
    torch.testing.assert_close(theta, torch.from_numpy(THETA))


@pytest.mark.parametrize("change", [{"offset": 0.0}, {"bin_width": 2.0}, {"shape": (64, 63)}, {"bins": 65}])
def test_rays_that_radon_has_not(change: dict[str, object]) -> None:
    geometry = replace(from_scikit_image(THETA, 64), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no such rays"):
        to_scikit_image(geometry)
    with pytest.raises(ValueError, match="has no such rays"):
        to_scikit_image(FAN)


@pytest.mark.parametrize("geometry", [FAN, PARALLEL])
def test_there_and_back_through_astra(geometry: Geometry) -> None:
    found = from_astra(*to_astra(geometry))
    assert type(found) is type(geometry)
    for name, value in vars(geometry).items():
        if name != "detector":
            assert getattr(found, name) == pytest.approx(value, abs=1e-12)


def test_astra_vectors_are_on_our_lines() -> None:
    """Source and every bin's middle lie on x cos(t - g) + y sin(t - g) = s."""
    projection, volume = to_astra(FAN)
    source, middle, step = torch.from_numpy(projection["Vectors"]).split(2, 1)
    places = torch.arange(FAN.bins, dtype=torch.float64) - (FAN.bins - 1) / 2
    cos_g, sin_g, s = FAN.lines()
    t = torch.tensor(FAN.angles, dtype=torch.float64)[:, None]
    normal = torch.stack((t.cos() * cos_g + t.sin() * sin_g, t.sin() * cos_g - t.cos() * sin_g), -1)
    for points in (source[:, None], middle[:, None] + places[:, None] * step[:, None]):
        torch.testing.assert_close((points * normal).sum(-1), s.expand(3, -1))
    assert volume["option"] == {"WindowMinY": -2.5, "WindowMaxY": 6.5, "WindowMinX": -5.2, "WindowMaxX": 3.2}


def test_plain_astra_geometries() -> None:
    volume = {"GridRowCount": 9, "GridColCount": 7}
    parallel = {"type": "parallel", "DetectorWidth": 0.5, "DetectorCount": 12, "ProjectionAngles": np.array([0.1, 2.0])}
    assert from_astra(parallel, volume) == ParallelGeometry((0.1, 2.0), (9, 7), 12, bin_width=0.5)
    fan = parallel | {"type": "fanflat", "DistanceOriginSource": 30.0, "DistanceOriginDetector": 20.0}
    wanted = FanGeometry((0.1, 2.0), (9, 7), 12, bin_width=0.5, source_distance=30.0, detector_distance=20.0)
    assert from_astra(fan, volume) == wanted


def test_astra_geometries_that_are_no_circular_scan() -> None:
    projection, volume = to_astra(FAN)
    for column, message in ((0, "distances from the axis vary"), (4, "vary between the views")):
        vectors = projection["Vectors"].copy()
        vectors[0, column] += 0.1
        with pytest.raises(ValueError, match=message):
            from_astra(projection | {"Vectors": vectors}, volume)
    mirrored = projection["Vectors"] * np.array([1, 1, 1, 1, -1, -1])
    with pytest.raises(ValueError, match="count the other way"):
        from_astra(projection | {"Vectors": mirrored}, volume)
    oblique, volume = to_astra(PARALLEL)
    oblique["Vectors"][:, :2] += 0.1
    with pytest.raises(ValueError, match="right angles"):
        from_astra(oblique, volume)
    with pytest.raises(ValueError, match="got 'cone'"):
        from_astra(projection | {"type": "cone"}, volume)
    with pytest.raises(ValueError, match="no curved detectors"):
        to_astra(replace(FAN, detector="curved"))
