"""The contract of `check_operator` over the list of all operators."""

import pytest
import torch

import invdiff.operators as operators
from invdiff.operators import GaussianBlur, Identity, LinearOperator, Operator
from invdiff.testing import check_operator
from tests.operators.cases import CASES

ABSTRACT = {Operator, LinearOperator}


@pytest.mark.parametrize("name", CASES)
def test_contract(name: str) -> None:
    errors = check_operator(CASES[name]())
    # Observed up to 4e-7; the dot test of a float32 transform of this size stays far below check_operator's own bar.
    assert errors.get("dot", 0.0) < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_contract_in_double_precision(name: str) -> None:
    op = CASES[name]().double()
    bars = {"dot": 1e-12, "gradient": 1e-12, "linearity": 1e-12, "batch": 1e-12, "dense": 1e-12, "double": 1e-12}
    # `normal` keeps single-precision phases at odd sizes: q of the folded transform has modulus 1 to 6e-8.
    check_operator(op, tolerances=bars if op.linear else {"batch": 1e-12})


def test_missing_operator_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in CASES if n.startswith("MotionBlur")]:
        monkeypatch.delitem(CASES, name)
    with pytest.raises(AssertionError, match="MotionBlur"):
        test_every_public_operator_is_listed()


def test_every_public_operator_is_listed() -> None:
    public = {getattr(operators, name) for name in operators.__all__}
    classes = {c for c in public if isinstance(c, type) and issubclass(c, Operator)} - ABSTRACT
    listed = {type(make()) for make in CASES.values()}
    assert classes <= listed, f"not in cases.py: {sorted(c.__name__ for c in classes - listed)}"


@pytest.mark.parametrize("name", CASES)
def test_double_backward(name: str) -> None:
    """The gradient of A x, differentiated in v once more, is A again."""
    op = CASES[name]()
    if not isinstance(op, LinearOperator):
        pytest.skip("not linear")
    batch = max(op.batch, 2)
    x = torch.randn(batch, *op.shape_in, dtype=op.dtype_in).requires_grad_()
    y = op(x)
    v = torch.randn_like(y).requires_grad_()
    (pulled,) = torch.autograd.grad(y, x, v, create_graph=True)
    w = torch.randn_like(pulled)
    (again,) = torch.autograd.grad(pulled, v, w)
    torch.testing.assert_close(again, op(w), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", ["circular", "reflect", "valid"])
def test_noise_does_not_set_the_intensity_scale_of_a_blur(padding: str) -> None:
    op = GaussianBlur(2.0, (1, 48, 48), size=13, padding=padding)
    y, x = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(48) - 23.5, indexing="ij")
    disc = (y**2 + x**2 < 15**2).float()[None, None]
    for operator in (op, op @ Identity((1, 48, 48)), 3.0 * op):
        found = operator.reference_image(operator.simulate(disc, 0.01, seed=0)).abs().quantile(0.95)
        assert 0.8 < float(found) < 1.3  # the closed-form pseudo-inverse gives hundreds
