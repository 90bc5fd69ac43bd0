"""u(x) = (P x - m)^T (S + s^2 I)^-1 (P x - m) / k: how far the coarse content of an image is from the training images'.

P averages |x| over k coarse cells; m and S are mean and covariance of P x over the training images, for which u is
about 1. Other anatomy, another orientation or another intensity scale make it large.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from invdiff.module import Movable

CELLS = 8  # per side
FLOOR = 0.2  # s, in units of the standard deviation of cells: what noise and undersampling leave in a rough image
MARGIN = 1.5  # over the 99th percentile of training images that took no part in the fit
LEAST = 2.0  # the limit is never below this


class Template(Movable):
    """Mean and inverse covariance of coarse cells, and the distance up to which an image counts as aligned.

    Args:
        mean: (h, w), real. precision: (h w, h w). limit: refused above.
    """

    mean: Tensor
    precision: Tensor

    def __init__(self, mean: Tensor, precision: Tensor, limit: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().double())
        self.register_buffer("precision", precision.detach().double())
        self.limit = limit

    @classmethod
    def fit(cls, images: Tensor) -> "Template":
        """From training images (N, 1, H, W), N at least 4; the limit is found by fitting to every second one.

        Raises:
            ValueError: too few images.
        """
        if len(images) < 4:
            raise ValueError(f"whether images are aligned shows in 4 training images at least, got {len(images)}.")
        cells = torch.cat([coarse(image) for image in images]).double()
        halves = cells[::2], cells[1::2]
        crossed = torch.cat([cls(*_moments(a), 0.0)._distance(b) for a, b in (halves, halves[::-1])])
        return cls(*_moments(cells), max(LEAST, MARGIN * float(torch.quantile(crossed, 0.99))))

    def distance(self, images: Tensor) -> Tensor:
        """u of each image (B, 1, H, W), (B,)."""
        return self._distance(coarse(images[:, 0]).to(self.mean))

    def _distance(self, cells: Tensor) -> Tensor:
        off = (cells - self.mean).flatten(1)
        return ((off @ self.precision) * off).mean(1)

    def check(self, images: Tensor) -> None:
        """Refuse images that do not lie as the training images did.

        Raises:
            ValueError: names the image, its distance and the limit.
        """
        found = self.distance(images)
        far = torch.nonzero(~(found <= self.limit))[:, 0]
        if len(far):
            i = int(far[0])
            raise ValueError(
                f"image {i} does not lie as the training images of this prior: its coarse content is at a distance of "
                f"{float(found[i]):.1f} from theirs (1 is usual, {self.limit:.1f} the limit). Off its template such a "
                "prior makes images worse; align the image and its intensities with it, or use a patch mixture."
            )


def coarse(images: Tensor) -> Tensor:
    """Mean of |x| (of x where it is real) over the cells of a grid, (B, h, w), for images (B, H, W)."""
    values = images.abs() if images.is_complex() else images
    height, width = (min(CELLS, n) for n in images.shape[-2:])
    return F.adaptive_avg_pool2d(values, (height, width))


def _moments(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and inverse covariance of cells (N, h, w); the fewer images, the more it is shrunk to its diagonal."""
    mean = cells.mean(0)
    off = (cells - mean).flatten(1)
    covariance = off.mT @ off / len(cells)
    k, diagonal = len(covariance), covariance.diagonal()
    share = k / (k + len(cells))
    floor = (FLOOR**2 * diagonal.mean()).clamp(min=torch.finfo(torch.float64).tiny)
    return mean, torch.linalg.inv((1 - share) * covariance + torch.diag(share * diagonal + floor))
