"""`check_operator` passes a right operator and catches each planted fault by name."""

import pytest
import torch
from torch import Tensor, nn

from invdiff.operators import Identity, LinearOperator, Operator
from invdiff.testing import TOLERANCES, check_operator

SHAPE = (1, 5, 7)


class Filter(LinearOperator):
    """Multiplication with complex gains: right unless a subclass plants a fault."""

    def __init__(self) -> None:
        super().__init__(SHAPE, SHAPE, complex_in=True)
        gain = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)
        self.register_buffer("gain", gain, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.gain.conj() * y


class NoConjugate(Filter):
    def _adjoint(self, y: Tensor) -> Tensor:
        return self.gain * y


class SlightlyOff(Filter):
    def _adjoint(self, y: Tensor) -> Tensor:
        return (1 + 1e-4) * self.gain.conj() * y


class Turned(Filter):
    def _adjoint(self, y: Tensor) -> Tensor:
        return (self.gain.conj() * y).mT


class Offset(Filter):
    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x + 1


class Conjugating(Filter):
    """Linear over the reals only, without saying so."""

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x.conj()

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.gain * y.conj()


class SaysRealLinear(Conjugating):
    real_linear = True


class Random(Filter):
    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x * torch.rand((), generator=_GENERATOR)


class InPlace(Filter):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(self.gain)


class BatchCoupled(Filter):
    def forward(self, x: Tensor) -> Tensor:
        return self.gain * (x + x.mean(0))

    def _adjoint(self, y: Tensor) -> Tensor:
        y = self.gain.conj() * y
        return y + y.mean(0)


class WrongNormal(Filter):
    def normal(self, x: Tensor) -> Tensor:
        return self.gain.abs() * x


class WrongProx(Filter):
    def _closed_prox(self, z: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        return (y + rho * z) / (1 + rho)


class Detached(Filter):
    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x.detach()


class WrongGradient(Filter):
    """A straight-through gradient, such as an unmatched back-projection."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.gain * x - x).detach()


class DropsImaginaryParts(Filter):
    def to(self, *args: object, **kwargs: object) -> "DropsImaginaryParts":
        return nn.Module.to(self, *args, **kwargs)


class StaysSingle(Filter):
    def forward(self, x: Tensor) -> Tensor:
        return self.gain.to(torch.complex64) * x.to(torch.complex64)


class Unpicklable(Filter):
    def __init__(self) -> None:
        super().__init__()
        self.hook = lambda x: x


class Squared(Operator):
    """Non-linear and right, for real images."""

    def __init__(self) -> None:
        super().__init__(SHAPE, SHAPE, complex_in=False)

    def forward(self, x: Tensor) -> Tensor:
        return x**2


class WrongVjp(Squared):
    def vjp(self, x: Tensor, v: Tensor) -> Tensor:
        return x * v


class Logarithm(Squared):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x)


_GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (NoConjugate, "dot"),
        (SlightlyOff, "dot: relative error .*e-05, allowed 1e-05"),
        (Turned, r"adjoint gives \(2, 1, 7, 5\), promised \(2, 1, 5, 7\)"),
        (Offset, "linearity"),
        (Conjugating, "linearity.*real_linear = True"),
        (Random, "not deterministic"),
        (InPlace, "changes its argument"),
        (BatchCoupled, "batch"),
        (WrongNormal, "normal"),
        (WrongProx, "prox"),
        (Detached, "does not depend on its argument"),
        (WrongGradient, "gradient"),
        (DropsImaginaryParts, "double"),
        (StaysSingle, "after to"),
        (Unpicklable, "cannot be pickled"),
        (WrongVjp, "vjp"),
    ],
)
def test_planted_fault_is_caught(faulty: type[Operator], message: str) -> None:
    with pytest.raises(AssertionError, match=f"{faulty.__name__}.*{message}"):
        check_operator(faulty())


@pytest.mark.parametrize("right", [Filter, SaysRealLinear, Squared])
def test_right_operators_pass(right: type[Operator]) -> None:
    errors = check_operator(right())
    assert errors
    assert max(errors.values()) < 1e-5


def test_point_of_evaluation() -> None:
    """The logarithm is not defined at random normal values; a point in its domain can be given."""
    with pytest.raises(AssertionError):
        check_operator(Logarithm())
    assert check_operator(Logarithm(), x=1 + torch.rand(2, *SHAPE, generator=_GENERATOR))["vjp"] < 1e-6


def test_dense_matrix_alone_sees_a_wrong_column() -> None:
    """A fault in one entry hides below the dot test's bar at a large size; the dense matrix shows it."""

    class OneEntry(Identity):
        def _adjoint(self, y: Tensor) -> Tensor:
            x = y.clone()
            x[..., 0, 0] *= 0.9
            return x

    with pytest.raises(AssertionError, match="dense"):
        check_operator(OneEntry((1, 4, 4)), tolerances=dict.fromkeys(TOLERANCES, 1.0) | {"dense": 1e-5})


def test_what_is_no_operator_is_named() -> None:
    with pytest.raises(TypeError, match=r"got Identity\. Subclass LinearOperator"):
        check_operator(nn.Identity())  # type: ignore[arg-type]


def test_unknown_tolerance() -> None:
    with pytest.raises(ValueError, match="dot_test"):
        check_operator(Identity(SHAPE), tolerances={"dot_test": 1.0})


def test_same_seed_same_report() -> None:
    assert check_operator(Filter(), seed=3) == check_operator(Filter(), seed=3)
