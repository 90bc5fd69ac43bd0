"""Every public operator once or more, tiny and mostly odd: what the contract tests run over."""

from collections.abc import Callable

import torch
from torch import Tensor

from invdiff.operators import (
    Anscombe,
    Blur,
    CartesianMRI,
    ConeBeamCT,
    Downsampling,
    FanBeamCT,
    GaussianBlur,
    HighDynamicRange,
    Identity,
    Inpainting,
    Magnitude,
    MotionBlur,
    NonCartesianMRI,
    NonlinearBlur,
    Operator,
    ParallelBeamCT,
    PhaseConstraint,
    PhaseRetrieval,
    PoissonDeviance,
    RealToComplex,
    Transmission,
    Weighting,
    row,
    stack,
    weighted,
)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def coil_maps(coils: int, height: int, width: int, batch: int = 1, seed: int = 1) -> Tensor:
    """Random maps that are zero in one corner pixel."""
    maps = random(batch, coils, height, width, seed=seed, dtype=torch.complex64)
    maps[..., 0, 0] = 0
    return maps


def lines(width: int, seed: int = 2) -> Tensor:
    """A mask (W,) with its centre sampled and one line missing."""
    mask = random(width, seed=seed) > 0
    mask[width // 2], mask[0] = True, False
    return mask


def points(*shape: int, seed: int = 3) -> Tensor:
    mask = random(*shape, seed=seed) > 0
    mask[..., shape[-2] // 2, shape[-1] // 2] = True
    return mask


def positions(*sizes: int, height: int, width: int, seed: int = 5) -> Tensor:
    """A random trajectory (*sizes, 2) over all of k-space."""
    uniform = torch.rand(*sizes, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    return uniform * torch.tensor((height, width))


KERNEL = random(3, 4, seed=4)
ANGLES = torch.tensor([0.0, 0.7, 1.6, -2.3, 3.0], dtype=torch.float64)
FAN = {"source_distance": 20.0, "detector_distance": 12.0}

CASES: dict[str, Callable[[], Operator]] = {
    "Identity": lambda: Identity((2, 5, 3)),
    "RealToComplex": lambda: RealToComplex((1, 5, 3)),
    "Inpainting lines": lambda: Inpainting(lines(7), shape=(3, 5, 7)),
    "Inpainting per item": lambda: Inpainting(points(2, 1, 5, 7), shape=(2, 5, 7)),
    "Blur circular": lambda: Blur(KERNEL, (2, 7, 6)),
    "Blur circular, kernel larger than the image": lambda: Blur(random(9, 8), (1, 5, 4)),
    "Blur reflect": lambda: Blur(KERNEL, (2, 7, 6), padding="reflect"),
    "Blur reflect, large kernel": lambda: Blur(random(9, 6), (1, 5, 4), padding="reflect"),
    "Blur valid": lambda: Blur(KERNEL, (2, 7, 6), padding="valid"),
    "GaussianBlur": lambda: GaussianBlur(1.2, (1, 9, 7), size=5, padding="reflect"),
    "MotionBlur": lambda: MotionBlur((1, 9, 7), size=7, seed=3),
    "Downsampling bicubic": lambda: Downsampling(3, (2, 9, 15)),
    "Downsampling bilinear": lambda: Downsampling(2, (1, 6, 10), filter="bilinear"),
    "Downsampling box": lambda: Downsampling(3, (1, 9, 3), filter="box"),
    "CartesianMRI": lambda: CartesianMRI(points(9, 7)),
    "CartesianMRI lines": lambda: CartesianMRI(lines(8), shape=(9, 8)),
    "CartesianMRI rows": lambda: CartesianMRI(lines(9)[:, None].expand(9, 8)),
    "CartesianMRI fully sampled": lambda: CartesianMRI(torch.ones(6), coil_maps(3, 7, 6)),
    "CartesianMRI coils": lambda: CartesianMRI(lines(8), coil_maps(3, 9, 8)),
    "CartesianMRI coils, points": lambda: CartesianMRI(points(8, 7), coil_maps(3, 8, 7)),
    "CartesianMRI per item": lambda: CartesianMRI(points(2, 7, 5), coil_maps(2, 7, 5, batch=2)),
    "CartesianMRI masks per item": lambda: CartesianMRI(points(2, 1, 7, 5), coil_maps(2, 7, 5)),
    "NonCartesianMRI": lambda: NonCartesianMRI(positions(13, height=7, width=6), shape=(7, 6)),
    "NonCartesianMRI coils": lambda: NonCartesianMRI(positions(11, height=5, width=8), coil_maps(3, 5, 8)),
    "NonCartesianMRI high": lambda: NonCartesianMRI(positions(9, height=6, width=5), shape=(6, 5), accuracy="high"),
    "NonCartesianMRI per item": lambda: NonCartesianMRI(
        positions(2, 9, height=5, width=4), coil_maps(2, 5, 4, batch=2)
    ),
    "NonCartesianMRI trajectory per item": lambda: NonCartesianMRI(
        positions(2, 9, height=5, width=4), coil_maps(2, 5, 4)
    ),
    "NonCartesianMRI maps per item": lambda: NonCartesianMRI(
        positions(9, height=5, width=4), coil_maps(2, 5, 4, batch=2)
    ),
    "ParallelBeamCT": lambda: ParallelBeamCT(ANGLES, (9, 7)),
    "ParallelBeamCT wide bins": lambda: ParallelBeamCT(
        ANGLES, (2, 7, 6), 5, pixel=(1, 1.3), bin_width=2.3, offset=0.25
    ),
    "ParallelBeamCT region": lambda: ParallelBeamCT(ANGLES, (7, 6), 4, center=(3.0, -2.0)),
    "ParallelBeamCT strip": lambda: ParallelBeamCT(ANGLES, (2, 6, 7), 9, pixel=(1, 1.3), model="strip"),
    "FanBeamCT strip": lambda: FanBeamCT(ANGLES, (7, 6), 5, bin_width=2.5, offset=0.25, model="strip", **FAN),
    "ParallelBeamCT matrix": lambda: ParallelBeamCT(ANGLES, (2, 7, 6), 5, bin_width=2.3, mode="matrix"),
    "FanBeamCT": lambda: FanBeamCT(ANGLES, (7, 8), 13, **FAN),
    "FanBeamCT curved": lambda: FanBeamCT(ANGLES, (2, 7, 6), 6, detector="curved", bin_width=4.0, offset=-0.25, **FAN),
    "ConeBeamCT": lambda: ConeBeamCT(ANGLES, (5, 6, 7), 3, 9, **FAN),
    "ConeBeamCT wide bins": lambda: ConeBeamCT(
        ANGLES,
        (3, 7, 6),
        2,
        5,
        pixel=(2, 1, 1.3),
        bin_width=3.3,
        row_height=6.0,
        offset=(0.5, -0.25),
        center=(1, 0.5, -1),
        **FAN,
    ),
    "PhaseConstraint": lambda: PhaseConstraint(random(1, 1, 5, 3, dtype=torch.complex64)),
    "PhaseConstraint per item": lambda: PhaseConstraint(random(2, 1, 5, 3, dtype=torch.complex64)),
    "Weighting": lambda: Weighting(random(2, 5, 3).abs(), (2, 5, 3)),
    "Weighting per item": lambda: Weighting(random(2, 1, 5, 3).clamp(min=0), (2, 5, 3)),
    "weighted": lambda: weighted(CartesianMRI(lines(8), coil_maps(3, 9, 8)), random(3, 1, 8).abs()),
    "Transmission": lambda: Transmission(Identity((1, 3, 5)), torch.arange(5) + 10, 2.0),
    "Transmission, projector": lambda: Transmission(Blur(KERNEL, (1, 7, 6)), 30.0),
    "Anscombe": lambda: Anscombe((2, 5, 3)),
    "PoissonDeviance": lambda: PoissonDeviance(random(2, 2, 5, 3).abs().round()),
    "Magnitude": lambda: Magnitude((2, 5, 3)),
    "Magnitude of a scan": lambda: Magnitude((3, 9, 8)) @ CartesianMRI(lines(8), coil_maps(3, 9, 8)),
    "PhaseRetrieval": lambda: PhaseRetrieval((2, 5, 4)),
    "PhaseRetrieval without padding": lambda: PhaseRetrieval((1, 6, 5), oversampling=1),
    "PhaseRetrieval, points": lambda: PhaseRetrieval((2, 5, 4), oversampling=1.5, mask=points(8, 6)),
    "HighDynamicRange": lambda: HighDynamicRange((2, 5, 3)),
    "HighDynamicRange of a blur": lambda: HighDynamicRange((2, 7, 6), 1.5, (-2.0, 1.0)) @ Blur(KERNEL, (2, 7, 6)),
    "NonlinearBlur": lambda: NonlinearBlur((2, 9, 7), seed=3, kernels=3, size=5),
    "NonlinearBlur, one kernel": lambda: NonlinearBlur((1, 9, 7), kernels=1, size=5),
    "stack": lambda: stack(Blur(KERNEL, (2, 7, 6), padding="valid"), Inpainting(lines(6), shape=(2, 7, 6))),
    "stack per item": lambda: stack(CartesianMRI(points(2, 7, 5)), CartesianMRI(lines(5), coil_maps(2, 7, 5))),
    "row": lambda: row(CartesianMRI(lines(8), coil_maps(3, 9, 8)), CartesianMRI(lines(8), coil_maps(3, 9, 8, seed=7))),
    "row, not Cartesian": lambda: row(
        *(NonCartesianMRI(positions(9, height=5, width=4), coil_maps(2, 5, 4, seed=seed)) for seed in (1, 2))
    ),
    "Adjoint": lambda: CartesianMRI(lines(8), coil_maps(3, 9, 8)).H,
    "Product": lambda: Blur(KERNEL, (1, 3, 5)) @ Downsampling(2, (1, 6, 10)),
    "Product, real image": lambda: CartesianMRI(lines(5), coil_maps(2, 7, 5)) @ RealToComplex((1, 7, 5)),
    "Product, real image, not Cartesian": lambda: (
        NonCartesianMRI(positions(9, height=5, width=4), coil_maps(2, 5, 4))
        @ PhaseConstraint(random(1, 1, 5, 4, dtype=torch.complex64))
    ),
    "Scaled, not Cartesian": lambda: 0.5 * NonCartesianMRI(positions(9, height=5, width=4), shape=(5, 4)),
    "stack, not Cartesian": lambda: stack(
        NonCartesianMRI(positions(9, height=5, width=4), shape=(5, 4)), CartesianMRI(points(5, 4))
    ),
    "Sum": lambda: Blur(KERNEL, (2, 7, 6)) + Identity((2, 7, 6)),
    "Scaled": lambda: -2.5 * Downsampling(2, (1, 4, 6)),
    "Scaled, complex": lambda: (1 - 2j) * CartesianMRI(points(5, 7)),
    "Scaled, real image": lambda: 2j * (CartesianMRI(points(5, 7)) @ RealToComplex((1, 5, 7))),
}
"""Name to a maker, so that collecting tests builds nothing."""
