"""Forward operators: y = A(x)."""

from invdiff.operators.anscombe import Anscombe, anscombe
from invdiff.operators.base import LinearOperator, Operator
from invdiff.operators.blur import Blur, GaussianBlur, MotionBlur
from invdiff.operators.ct import FanBeamCT, ParallelBeamCT
from invdiff.operators.ct_cone import ConeBeamCT
from invdiff.operators.downsampling import Downsampling
from invdiff.operators.high_dynamic_range import HighDynamicRange
from invdiff.operators.identity import Identity
from invdiff.operators.inpainting import Inpainting
from invdiff.operators.magnitude import Magnitude
from invdiff.operators.mri import CartesianMRI
from invdiff.operators.noncartesian import NonCartesianMRI
from invdiff.operators.nonlinear_blur import NonlinearBlur
from invdiff.operators.partial_fourier import PhaseConstraint
from invdiff.operators.phase_retrieval import PhaseRetrieval
from invdiff.operators.poisson import PoissonDeviance
from invdiff.operators.real import RealToComplex
from invdiff.operators.row import row
from invdiff.operators.stack import stack
from invdiff.operators.transmission import Transmission
from invdiff.operators.weighted import Weighting, weighted

__all__ = [
    "Anscombe",
    "Blur",
    "CartesianMRI",
    "ConeBeamCT",
    "Downsampling",
    "FanBeamCT",
    "GaussianBlur",
    "HighDynamicRange",
    "Identity",
    "Inpainting",
    "LinearOperator",
    "Magnitude",
    "MotionBlur",
    "NonCartesianMRI",
    "NonlinearBlur",
    "Operator",
    "ParallelBeamCT",
    "PhaseConstraint",
    "PhaseRetrieval",
    "PoissonDeviance",
    "RealToComplex",
    "Transmission",
    "Weighting",
    "anscombe",
    "row",
    "stack",
    "weighted",
]
