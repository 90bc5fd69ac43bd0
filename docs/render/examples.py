"""One small operator of every kind, by name: what the tables of the pages are made from."""

import math
from collections.abc import Callable
from functools import cache

import torch

from invdiff.data.coils import simulate_maps
from invdiff.data.trajectories import radial
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
)

N = 32
SHAPE = (1, N, N)
LINES = torch.tensor([i % 2 == 0 or abs(i - N // 2) < 4 for i in range(N)])
VIEWS = [math.pi * t / 24 for t in range(24)]
TURN = [2 * math.pi * t / 24 for t in range(24)]
SOURCE, DETECTOR = 100.0, 50.0  # distances from the axis, mm


def _coils() -> CartesianMRI:
    return CartesianMRI(LINES, simulate_maps(4, (N, N), seed=0)[None])


def _radial(coils: int = 1) -> NonCartesianMRI:
    maps = None if coils == 1 else simulate_maps(coils, (N, N), seed=0)
    return NonCartesianMRI(radial(24, (N, N)).reshape(-1, 2), maps, shape=(N, N))


def _counts() -> Transmission:
    return Transmission(ParallelBeamCT(VIEWS, (N, N), pixel=4.0), photons=1e5)


def _pixels() -> torch.Tensor:
    return torch.rand(N, N, generator=torch.Generator().manual_seed(0)) < 0.5


MAKERS: dict[str, Callable[[], Operator]] = {
    "CartesianMRI, 1 coil": lambda: CartesianMRI(LINES, shape=(N, N)),
    "CartesianMRI, 4 coils": _coils,
    "NonCartesianMRI, 1 coil": _radial,
    "NonCartesianMRI, 4 coils": lambda: _radial(4),
    "CartesianMRI @ RealToComplex": lambda: CartesianMRI(LINES, shape=(N, N)) @ RealToComplex(SHAPE),
    "RealToComplex": lambda: RealToComplex(SHAPE),
    "PhaseConstraint": lambda: PhaseConstraint(torch.full((1, *SHAPE), 1j)),
    "ParallelBeamCT": lambda: ParallelBeamCT(VIEWS, (N, N), pixel=4.0),
    "FanBeamCT": lambda: FanBeamCT(TURN, (N, N), 64, source_distance=SOURCE, detector_distance=DETECTOR),
    "ConeBeamCT": lambda: ConeBeamCT(TURN, (8, N, N), 16, 64, source_distance=SOURCE, detector_distance=DETECTOR),
    "Identity": lambda: Identity(SHAPE),
    "Inpainting": lambda: Inpainting(_pixels()),
    "Downsampling": lambda: Downsampling(4, SHAPE),
    "Weighting": lambda: Weighting(torch.linspace(0.5, 1, N), SHAPE),
    "Blur": lambda: Blur(torch.ones(3, 3) / 9, SHAPE),
    "GaussianBlur": lambda: GaussianBlur(1.5, SHAPE, size=13),
    "GaussianBlur, valid": lambda: GaussianBlur(1.5, SHAPE, size=13, padding="valid"),
    "MotionBlur": lambda: MotionBlur(SHAPE, size=13),
    "PhaseRetrieval": lambda: PhaseRetrieval(SHAPE),
    "Magnitude @ CartesianMRI": lambda: Magnitude((1, N, N)) @ CartesianMRI(LINES, shape=(N, N)),
    "HighDynamicRange": lambda: HighDynamicRange(SHAPE),
    "NonlinearBlur": lambda: NonlinearBlur(SHAPE),
    "Transmission": _counts,
    "Anscombe @ Transmission": lambda: Anscombe(_counts().shape_out) @ _counts(),
    "PoissonDeviance @ Transmission": lambda: PoissonDeviance(torch.full((1, *_counts().shape_out), 1e5)) @ _counts(),
}


@cache
def example(name: str) -> Operator:
    """The operator of this name in `MAKERS`."""
    return MAKERS[name]()
