"""y = m |F P x|: Fourier amplitudes of an image in a larger empty frame; P pads with zeros, m says what is measured.

F is the centred orthonormal transform. Where it is centred matters to phases only, so the code has the zero frequency
moved to (H' // 2, W' // 2) and no other shift. Amplitudes of real images are even, |X[-k]| = |X[k]|: half of the plane
is computed and mirrored.

All of -x (real), e^(i phi) x (complex) and conj(x(-r)) have the same amplitudes, and so have circular shifts of x where
there is no padding; `invdiff.symmetries` compares images up to these.
"""

from typing import Any

import torch
from torch import Tensor
from torch.fft import fft2, fftshift, rfft2
from torch.nn.functional import pad

from invdiff.checks import require
from invdiff.operators.base import Operator
from invdiff.operators.hybrid_input_output import hybrid_input_output
from invdiff.operators.mask import sampling_mask
from invdiff.operators.search import Search
from invdiff.shapes import Shape


class PhaseRetrieval(Operator):
    """Images (B, C, H, W), real or complex, to amplitudes (B, C, H', W'), real; every channel on its own.

    Where an amplitude is zero it has no derivative; the one taken is 0, one of its subgradients. `simulate` adds
    Gaussian noise to the amplitudes, as the benchmark does, so that weak ones may become negative.

    Args:
        shape: (C, H, W).
        oversampling: H' / H and W' / W, rounded to whole pixels. 2 is what the sampling of the autocorrelation asks
            for; 1 is no padding. (The benchmark of Chung et al., 2023, calls 1.5 of this "oversample 2".)
        mask: frequencies that are measured, (W',), (H', W') or (C, H', W'), bool or 0/1, the zero frequency at
            (H' // 2, W' // 2); y is zero at the others.

    Raises:
        ValueError: a shape that is not (C, H, W), oversampling below 1, or a mask that does not fit the padded size.

    Example:
        >>> PhaseRetrieval((1, 6, 5))(torch.ones(2, 1, 6, 5)).shape
        torch.Size([2, 1, 12, 10])

    Source: Fienup, Phase Retrieval Algorithms: a Comparison, 1982, for the problem; Miao, Sayre and Chapman, Phase
    Retrieval from the Magnitude of the Fourier Transforms of Nonperiodic Objects, 1998, for oversampling.
    """

    def __init__(self, shape: Shape, oversampling: float = 2.0, mask: Any = None) -> None:
        require("oversampling", oversampling, at_least=1, at_most=16)
        if len(shape) != 3:
            raise ValueError(f"PhaseRetrieval: shape must be (C, H, W), got {tuple(shape)}.")
        frame = tuple(round(oversampling * n) for n in shape[1:])
        super().__init__(shape, (shape[0], *frame), complex_out=False)
        self.before = tuple(large // 2 - small // 2 for large, small in zip(frame, shape[1:], strict=True))
        if mask is not None:
            self.sampled = sampling_mask(mask, self.shape_out, "PhaseRetrieval")
            self.batch = len(self.sampled)

    def forward(self, x: Tensor) -> Tensor:
        y = fftshift(self._amplitude(self.pad(x)), dim=(-2, -1))
        return y if self.sampled is None else torch.where(self.sampled, y, torch.zeros_like(y))

    def pad(self, x: Tensor) -> Tensor:
        """P x, (B, C, H', W'), the centre pixel (H // 2, W // 2) going to (H' // 2, W' // 2)."""
        (top, left), (height, width) = self.before, self.shape_in[1:]
        bottom, right = self.shape_out[1] - height - top, self.shape_out[2] - width - left
        return pad(x, (left, right, top, bottom))

    def crop(self, x: Tensor) -> Tensor:
        """P^T x, the image in its frame, (B, C, H, W)."""
        (top, left), (height, width) = self.before, self.shape_in[1:]
        return x[..., top : top + height, left : left + width]

    def first_image(self, y: Tensor, search: Search) -> Tensor:
        """By `hybrid_input_output` from random starts; the settings are its own."""
        box = self.pad(torch.ones(1, *self.shape_in, device=y.device))[0, 0] > 0
        search = search.among(self.sampled)
        x = hybrid_input_output(
            y, box, search.noise, sampled=search.used, is_complex=search.is_complex, low=search.low, **search.settings
        )
        return self.crop(x)

    def _amplitude(self, x: Tensor) -> Tensor:
        return fft2(x, norm="ortho").abs() if x.is_complex() else self._even(rfft2(x, norm="ortho").abs())

    def _even(self, half: Tensor) -> Tensor:
        """(..., H', W') from its columns 0 to W' // 2, by |X[-k]| = |X[k]|."""
        width = self.shape_out[2]
        mirrored = half[..., 1 : width - width // 2].flip(-2, -1).roll(1, -2)
        return torch.cat((half, mirrored), -1)
