"""Forward operators: y = A(x)."""

from invdiff.operators.base import LinearOperator, Operator
from invdiff.operators.blur import Blur, GaussianBlur, MotionBlur
from invdiff.operators.downsampling import Downsampling
from invdiff.operators.identity import Identity
from invdiff.operators.inpainting import Inpainting
from invdiff.operators.mri import CartesianMRI
from invdiff.operators.noncartesian import NonCartesianMRI
from invdiff.operators.partial_fourier import PhaseConstraint
from invdiff.operators.real import RealToComplex
from invdiff.operators.stack import stack

__all__ = [
    "Blur",
    "CartesianMRI",
    "Downsampling",
    "GaussianBlur",
    "Identity",
    "Inpainting",
    "LinearOperator",
    "MotionBlur",
    "NonCartesianMRI",
    "Operator",
    "PhaseConstraint",
    "RealToComplex",
    "stack",
]
