"""|A x - p| / |p|: projectors against exact line integrals of ellipses and Gaussians, and filtered backprojection.

p are means over bins. Ripple is what A^T 1 varies by within a few pixels. Filtered backprojection is compared with
scikit-image's on the same sinogram by the root mean square of the error inside the body.

    python recipes/ct_accuracy.py
"""

import math
from collections.abc import Iterator

import torch
from skimage.transform import iradon
from torch import Tensor
from torch.nn.functional import avg_pool2d

from invdiff.data.ellipses import eight_ellipses, ellipse_image, strip_means
from invdiff.operators import ParallelBeamCT
from invdiff.solvers.fbp import filtered_backprojection

VIEWS, WIDTH = 90, 12.0  # WIDTH: standard deviation of the Gaussians, mm
BLOBS = ((-60.0, 30.0, 1.0), (20.0, -50.0, 0.7), (75.0, 60.0, -0.5))  # x, y, height


def main() -> None:
    for line in rows():
        print(line, flush=True)


def rows() -> Iterator[str]:
    for n, bar in ((256, 0.7), (512, 0.35)):
        yield f"ellipses, {n} x {n}, bins of a pixel: {100 * ellipse_error(n, 1.0):.2f} % (bar {bar})"
    yield f"Gaussians, 256 x 256: {100 * gaussian_error(256):.3f} % (bar 0.12)"
    for width in (2.0, 4.0):
        yield (f"bins of {width:.0f} pixels, 256 x 256: ellipses {100 * ellipse_error(256, width):.2f} % (bar 0.4), "
               f"ripple {100 * ripple(256, width):.2f} % (bar 1)")  # fmt: skip
    for dtype, bar in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        yield f"adjoint mismatch, 256 x 256, {dtype}: {mismatch(256, dtype):.0e} (bar {bar:.0e})"
    ours, theirs = backprojection_errors(255, 720)
    yield f"filtered backprojection, 720 views: RMSE {ours:.6f}, scikit-image {theirs:.6f} (bar: not above)"


def ellipse_error(n: int, width: float) -> float:
    ellipses, angles = eight_ellipses(0.475 * n), half_turn(VIEWS)
    op = ParallelBeamCT(angles, (n, n), bin_width=width)
    exact = strip_means(ellipses, angles[:, None], op.geometry.detector_positions(), width)
    return relative(op(ellipse_image(ellipses, (n, n)).float()[None, None])[0, 0], exact)


def gaussian_error(n: int) -> float:
    op, t = ParallelBeamCT(half_turn(VIEWS), (n, n)), half_turn(VIEWS)[:, None]
    y, x = op.geometry.coordinates()
    s = op.geometry.detector_positions()
    image, exact = torch.zeros(n, n, dtype=torch.float64), torch.zeros(VIEWS, len(s), dtype=torch.float64)
    for a, b, height in BLOBS:
        image += height * torch.exp(-((x - a) ** 2 + (y[:, None] - b) ** 2) / (2 * WIDTH**2))
        distance = s - a * t.cos() - b * t.sin()
        exact += height * WIDTH * math.sqrt(2 * math.pi) * torch.exp(-(distance**2) / (2 * WIDTH**2))
    return relative(op(image.float()[None, None])[0, 0], exact)


def ripple(n: int, width: float) -> float:
    op = ParallelBeamCT(half_turn(VIEWS), (n, n), bin_width=width)
    middle = op.adjoint(torch.ones(1, *op.shape_out))[..., n // 4 : -n // 4, n // 4 : -n // 4]
    return float((middle[..., 4:-4, 4:-4] - avg_pool2d(middle, 9, 1)).std() / middle.mean())


def mismatch(n: int, dtype: torch.dtype) -> float:
    """|<A x, y> - <x, A^T y>| / |<A x, y>| for y = A x and noise."""
    op, generator = ParallelBeamCT(half_turn(VIEWS), (n, n)), torch.Generator().manual_seed(0)
    x = torch.rand(1, *op.shape_in, generator=generator, dtype=dtype)
    ax = op(x)
    y = ax + ax.std() * torch.randn(ax.shape, generator=generator, dtype=dtype)
    left, right = (ax.double() * y).sum(), (x.double() * op.adjoint(y)).sum()
    return float((left - right).abs() / left.abs())


def backprojection_errors(n: int, views: int) -> tuple[float, float]:
    """Root mean square error inside the body, ours and scikit-image's; n odd, where both turn about one place."""
    ellipses, angles = eight_ellipses(0.475 * n), half_turn(views)
    geometry = ParallelBeamCT(angles, (n, n)).geometry
    p = strip_means(ellipses, angles[:, None], geometry.detector_positions(), 1.0)
    truth = ellipse_image(ellipses, (n, n))
    theirs = iradon(p.T.numpy(), torch.rad2deg(angles).numpy(), output_size=n, circle=False, filter_name="ramp")
    images = filtered_backprojection(p[None, None], geometry)[0, 0], torch.from_numpy(theirs)
    ours, other = (float((x - truth)[truth > 0].square().mean().sqrt()) for x in images)
    return ours, other


def half_turn(views: int) -> Tensor:
    return torch.arange(views, dtype=torch.float64) * math.pi / views


def relative(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b).norm() / b.norm())


if __name__ == "__main__":
    main()
