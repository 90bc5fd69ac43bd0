"""y = exp(i phi) x,   A^H y = Re(exp(-i phi) y),   x real: an image of known phase, for k-space sampled on one side.

The k-space of a real image is Hermitian, so half of it tells all of it; with the phase known from the symmetric centre,
the other half follows from the data by this operator alone: op @ PhaseConstraint(op.reference_image(y)).

Source: Noll, Nishimura and Macovski, Homodyne Detection in Magnetic Resonance Imaging, 1991, for the phase; Bydder and
Robson, Partial Fourier Partially Parallel Imaging, 2005, for the constraint within the encoding model.
"""

import torch
from torch import Tensor

from invdiff.checks import require
from invdiff.operators.real import RealIsometry


class PhaseConstraint(RealIsometry):
    """Real images (B, *shape) to complex ones of a given phase; linear over the reals only.

    Args:
        image: (B or 1, *shape) complex; its phase is taken, 0 where it is zero. With a batch above one the operator
            fits that batch only.

    Raises:
        TypeError: a real image.
        ValueError: no batch axis, or values that are not finite.

    Example:
        >>> op = PhaseConstraint(torch.full((1, 1, 4, 5), 1j))
        >>> op(torch.ones(2, 1, 4, 5))[0, 0, 0, 0]
        tensor(0.+1.j)
    """

    phase: Tensor

    def __init__(self, image: Tensor) -> None:
        if not image.is_complex():
            raise TypeError(f"PhaseConstraint takes a complex image, got {image.dtype}. Use torch.polar(one, phase).")
        if image.ndim < 2 or not bool(torch.isfinite(image).all()):
            raise ValueError(
                f"PhaseConstraint takes a finite image (B, *shape), got {tuple(image.shape)} with "
                f"{int((~torch.isfinite(image)).sum())} values that are not finite."
            )
        super().__init__(tuple(image.shape[1:]))
        self.batch = len(image)
        self.register_buffer("phase", torch.where(image == 0, 1, torch.sgn(image)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.phase * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return (self.phase.conj() * y).real.clone()


def partial_fourier_mask(lines: int, fraction: float) -> Tensor:
    """The mask (lines,) bool of a scan that leaves out the first lines: `fraction` of all are sampled.

    Args:
        fraction: above 0.5, so that some lines lie on both sides of the centre, lines // 2; at most 1.

    Raises:
        ValueError: a fraction out of range.
    """
    require("fraction", fraction, above=0.5, at_most=1)
    return torch.arange(lines) >= lines - round(fraction * lines)
