"""Operators made of operators: values, formulas, what is handed on, what is refused."""

import pytest
import torch
from torch import Tensor

from invdiff.operators import (
    Blur,
    CartesianMRI,
    Downsampling,
    Identity,
    Inpainting,
    LinearOperator,
    Operator,
    PhaseConstraint,
    RealToComplex,
    stack,
)
from invdiff.testing import check_operator
from tests.operators.cases import KERNEL, coil_maps, lines, points, random

BLUR, DOWN = Blur(KERNEL, (1, 3, 5)), Downsampling(2, (1, 6, 10))
SCAN = CartesianMRI(lines(8), coil_maps(3, 9, 8))


class Cube(Operator):
    """Not linear; complex where its input is."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, shape)

    def forward(self, x: Tensor) -> Tensor:
        return x**3


class Magnitude(Operator):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, shape, complex_in=True, complex_out=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.real**2 + x.imag**2


def test_values() -> None:
    x = random(2, 1, 6, 10)
    both = BLUR @ DOWN
    assert torch.equal(both(x), BLUR(DOWN(x)))
    assert torch.equal((BLUR + Identity((1, 3, 5)))(DOWN(x)), BLUR(DOWN(x)) + DOWN(x))
    assert torch.equal((3 * DOWN)(x), 3 * DOWN(x))
    assert torch.equal((DOWN * 3)(x), 3 * DOWN(x))
    assert torch.equal(DOWN.H(both(x)), DOWN.adjoint(both(x)))


def test_formulas() -> None:
    total = BLUR + Identity((1, 3, 5))
    assert (BLUR @ DOWN).name == "Blur @ Downsampling"
    assert (total @ DOWN).name == "(Blur + Identity) @ Downsampling"
    assert (BLUR @ DOWN).H.name == "(Blur @ Downsampling).H"
    assert (2 * total).name == "2 * (Blur + Identity)"
    assert (1j * SCAN).name == "(0+1j) * CartesianMRI"
    assert stack(BLUR, -0.5 * BLUR).name == "stack(Blur, -0.5 * Blur)"
    with pytest.raises(ValueError, match=r"Blur @ Downsampling takes \(B, 1, 6, 10\), got \(1, 1, 3, 5\)"):
        (BLUR @ DOWN)(torch.ones(1, 1, 3, 5))


def test_adjoint_of_the_adjoint_is_the_operator() -> None:
    for op in (BLUR, BLUR @ DOWN, BLUR + BLUR, 2 * BLUR, stack(BLUR, BLUR)):
        assert op.H.H is op
        assert op.H.norm() == op.norm()


@pytest.mark.parametrize("order", ["linear first", "linear last", "neither", "magnitude"])
def test_non_linear_products(order: str) -> None:
    shape = (1, 3, 5)
    op = {
        "linear first": lambda: Cube(shape) @ DOWN,
        "linear last": lambda: BLUR @ Cube(shape),
        "neither": lambda: Cube(shape) @ Cube(shape),
        "magnitude": lambda: Magnitude((3, 9, 8)) @ SCAN,
    }[order]()
    assert not isinstance(op, LinearOperator)
    check_operator(op)


def test_stack_of_non_linear_operators() -> None:
    op = stack(Cube((1, 3, 5)), BLUR)
    assert not isinstance(op, LinearOperator)
    check_operator(op)


def test_stack_and_split() -> None:
    op, x = stack(BLUR, Identity((1, 3, 5))), random(2, 1, 3, 5)
    y = op(x)
    assert y.shape == (2, 30)
    blurred, same = op.split(y)
    assert torch.equal(blurred, BLUR(x))
    assert torch.equal(same, x)


def test_what_is_handed_on() -> None:
    mask = points(2, 9, 8)
    scan = CartesianMRI(mask, coil_maps(3, 9, 8))
    product = scan @ RealToComplex((1, 9, 8))
    assert product.real_linear
    assert product.batch == 2
    assert (product.complex_in, product.complex_out) == (False, True)
    assert torch.equal(product.measured(True), scan.measured(True))
    both = stack(scan, SCAN)
    assert both.batch == 2
    assert torch.equal(both.measured(True), scan.measured(True) + SCAN.measured(True))
    assert bool(((scan + SCAN).measured(True) > scan.measured(True)).all())
    assert (2 * scan).sampled is scan.sampled
    assert stack(BLUR, BLUR).sampled is None
    assert scan.H.sampled is None


def test_kinds_pass_through_open_operators() -> None:
    assert (SCAN @ Identity((1, 9, 8))).complex_in is True
    assert (Identity((3, 9, 8)) @ SCAN).complex_out is True
    assert (Identity((1, 9, 8)) + Identity((1, 9, 8))).complex_in is None
    assert (Identity((1, 9, 8)) @ RealToComplex((1, 9, 8))).complex_out is True


def test_noise_estimates_pass_through() -> None:
    scan = CartesianMRI(torch.ones(64, 64))
    y = 0.1 * random(2, 1, 64, 64, dtype=torch.complex64) * 2**0.5
    level = scan.estimate_sigma(y)
    assert level.tolist() == pytest.approx([0.1, 0.1], rel=0.15)
    product = scan @ RealToComplex((1, 64, 64))
    assert torch.equal(product.estimate_sigma(y), level)
    assert torch.equal((3 * scan).estimate_sigma(y), level)
    pair = stack(scan, Identity((1, 64, 64)))
    torch.testing.assert_close(pair.estimate_sigma(torch.cat([y.flatten(1), y.flatten(1)], 1)), level)
    assert (BLUR @ DOWN).estimate_sigma(random(1, 1, 3, 5)) is None


def test_scaled_keeps_closed_forms() -> None:
    op, z, y = Inpainting(points(5, 7)), random(2, 1, 5, 7), random(2, 1, 5, 7, seed=1)
    x = (2 * op).prox(z, y, 0.5, iterations=0)  # no iteration is needed
    residual = 4 * op.normal(x) + 0.5 * x - 2 * op.adjoint(y) - 0.5 * z
    assert residual.norm() < 1e-5 * y.norm()
    torch.testing.assert_close((2 * op).pinv(2 * op(z)), op(z))
    torch.testing.assert_close((2 * op).reference_image(y), op.reference_image(y) / 2)


def test_reference_image_behind_a_real_image() -> None:
    op = CartesianMRI(torch.ones(16), shape=(16, 16))
    x = torch.outer(torch.hann_window(16), torch.hann_window(16))[None, None]
    real = op @ RealToComplex((1, 16, 16))
    torch.testing.assert_close(real.reference_image(real(x)), op.reference_image(real(x)).real)


def test_moves_reach_every_part() -> None:
    op = (stack(SCAN, 2j * SCAN) @ RealToComplex((1, 9, 8))).double()
    assert {b.dtype for b in op.buffers()} == {torch.complex128, torch.bool}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DOWN @ BLUR, ValueError, r"Downsampling takes \(1, 6, 10\), Blur gives \(1, 3, 5\)"),
        (lambda: SCAN @ Magnitude((1, 9, 8)), TypeError, r"takes complex input, Magnitude gives real.*RealToComplex"),
        (lambda: RealToComplex((3, 9, 8)) @ SCAN, TypeError, "takes real input, CartesianMRI gives complex output"),
        (lambda: BLUR @ torch.ones(1, 1, 3, 5), TypeError, r"got Tensor. Apply an operator by calling it"),
        (lambda: BLUR + DOWN, ValueError, "Blur \\+ Downsampling: both must map the same shapes"),
        (lambda: BLUR + Cube((1, 3, 5)), TypeError, "takes a linear operator, got Cube"),
        (lambda: BLUR + 1, TypeError, "got int"),
        (lambda: 0 * BLUR, ValueError, "finite and not zero, got 0"),
        (lambda: float("nan") * BLUR, ValueError, "finite"),
        (lambda: 1j * BLUR, TypeError, "needs an operator with complex output"),
        (lambda: BLUR * "2", TypeError, "multiplied by a number, got str"),
        (lambda: stack(), ValueError, "one operator or more"),
        (lambda: stack([BLUR, BLUR]), TypeError, r"stack\(A, B\)"),
        (lambda: stack(BLUR, DOWN), ValueError, r"same input, got \(1, 3, 5\) and \(1, 6, 10\)"),
        (
            lambda: stack(Magnitude((1, 9, 8)), SCAN),
            TypeError,
            "all real or all complex, got Magnitude real, CartesianMRI",
        ),
        (
            lambda: stack(CartesianMRI(points(2, 9, 8)), CartesianMRI(points(3, 9, 8))),
            ValueError,
            r"different batches, \[2, 3\]",
        ),
    ],
)
def test_refused(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]


LEFT = {
    "Identity": lambda shape: Identity(shape),
    "Inpainting": lambda shape: Inpainting(points(*shape[1:]), shape=shape),
    "Scaled": lambda shape: -2 * Identity(shape),
    "Sum": lambda shape: Identity(shape) + 2 * Identity(shape),
    "Adjoint": lambda shape: Identity(shape).H,
    "Product": lambda shape: Inpainting(points(*shape[1:]), shape=shape) @ (3 * Identity(shape)),
    "RealToComplex": RealToComplex,
    "PhaseConstraint": lambda shape: PhaseConstraint(random(1, *shape, dtype=torch.complex64)),
}


@pytest.mark.parametrize("name", LEFT)
def test_entries_that_no_operator_measures_are_not_counted(name: str) -> None:
    """What works entry by entry measures nothing that the scan before it did not; noise is not put there either."""
    shape = (3, 9, 8)
    left = LEFT[name](shape)
    scan = Inpainting(lines(8), shape=shape) if left.complex_in is False else SCAN
    assert left.pointwise
    both = left @ scan
    wanted = scan.sampled if left.sampled is None else scan.sampled & left.sampled
    assert both.sampled is not None
    assert torch.equal(both.sampled.expand(1, *shape), wanted.expand(1, *shape))
    assert both.measured(True) == 2 * int(wanted.expand(1, *shape).sum())
    x = random(1, *scan.shape_in, dtype=torch.float32 if left.complex_in is False else torch.complex64)
    assert not both.simulate(x, 0.1)[~wanted.expand(1, *shape)].any()


def test_operators_that_mix_entries_are_not_pointwise() -> None:
    for op in (DOWN, SCAN, BLUR, BLUR @ Identity((1, 3, 5)), Identity((1, 3, 5)) + BLUR, 2 * BLUR, BLUR.H):
        assert not op.pointwise
    blurred = Blur(KERNEL, (1, 6, 10)) @ Inpainting(points(6, 10))
    assert blurred.sampled is None


def test_multiples_keep_what_can_be_seen() -> None:
    maps = coil_maps(3, 9, 8)
    maps[..., :2] = 0
    scan = CartesianMRI(lines(8), maps)
    assert scan.support is not None
    scaled = 2 * scan
    assert scaled.support is not None
    assert torch.equal(scaled.support, scan.support)


def blind(columns: slice) -> CartesianMRI:
    """A scan whose coils do not see some columns."""
    maps = coil_maps(3, 9, 8)
    maps[..., columns] = 0
    return CartesianMRI(lines(8), maps)


SEEN = {
    "Stack": lambda: stack(blind(slice(0, 2)), blind(slice(0, 3))),
    "Sum": lambda: blind(slice(0, 2)) + blind(slice(0, 3)),
    "RealToComplex": lambda: blind(slice(0, 2)) @ RealToComplex((1, 9, 8)),
    "PhaseConstraint": lambda: blind(slice(0, 2)) @ PhaseConstraint(random(1, 1, 9, 8, dtype=torch.complex64)),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_no_coil_sees_is_known_of_composites_too(name: str) -> None:
    """Else a prior would draw there."""
    support = SEEN[name]().support
    assert support is not None
    assert not support[..., :2].any()
    assert bool(support[..., 2:].all())


def test_what_one_operator_sees_is_seen() -> None:
    assert SCAN.support is not None
    for both in (stack(blind(slice(0, 2)), SCAN), blind(slice(0, 2)) + SCAN):
        assert both.support is not None
        assert torch.equal(both.support, SCAN.support)
    anywhere = CartesianMRI(lines(8), shape=(9, 8))
    assert stack(anywhere, 2 * anywhere).support is None
    assert (blind(slice(0, 2)) @ Blur(KERNEL, (1, 9, 8))).support is None
