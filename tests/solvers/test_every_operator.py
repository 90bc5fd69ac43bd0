"""Methods with every operator: they run, items do not see their batch, and the image is brought nearer to the data."""

from typing import Any

import pytest
import torch

import invdiff
from invdiff.operators.base import LinearOperator, Operator
from invdiff.solvers import METHODS
from tests.operators.cases import CASES
from tests.solvers.exact import stationary

SHORT: dict[str, dict[str, Any]] = {
    "pigdm": {"steps": 10},
    "ddnm": {"steps": 6},
    "ddrm": {"steps": 6},
    "diffpir": {"steps": 6},
    "red-diff": {"steps": 12},
}


def refusal(method: str, op: Operator) -> str | None:
    """What a refusal says; None where the method takes the operator."""
    if METHODS[method].linear and not isinstance(op, LinearOperator):
        return "needs a linear operator"
    return None if METHODS[method].fits(op) is None else f"{method} does not work behind"


@pytest.mark.parametrize("name", CASES)
def test_methods_run_or_are_refused(name: str) -> None:
    op = CASES[name]()
    if len(op.shape_in) != 3:
        pytest.skip("not an operator of images")
    prior = stationary(op)
    x0 = prior.sample(2, 3)
    sigma_y = 0.02 * (op.norm() if isinstance(op, LinearOperator) else float(op(x0).abs().mean()))
    y = op.simulate(x0, sigma_y, seed=1)
    for method, options in SHORT.items():
        common: dict[str, Any] = {"sigma_y": sigma_y, "seed": 0, "scale": 1.0, **options}
        sentence = refusal(method, op)
        if sentence is not None:
            with pytest.raises(ValueError, match=sentence):
                invdiff.solve(y, op, prior, method, **common)
            continue
        x = invdiff.solve(y, op, prior, method, **common).x
        assert x.is_complex() == prior.complex
        assert torch.isfinite(x).all(), method
        if isinstance(op, LinearOperator):
            assert torch.linalg.vector_norm(op(x) - y) < 0.7 * torch.linalg.vector_norm(y), method
        if op.batch == 1:
            alone = invdiff.solve(y[:1], op, prior, method, **common).x
            change = torch.linalg.vector_norm(x[:1] - alone) / torch.linalg.vector_norm(alone)
            # Single precision; on images this small ten conjugate-gradient steps have lost their conjugacy
            closed = isinstance(op, LinearOperator) and op.svd(prior.complex) is not None
            assert float(change) < (1e-4 if closed else 5e-2), method


@pytest.mark.parametrize("method", ["pigdm", "ddnm", "ddrm", "diffpir"])
def test_without_noise_the_data_are_met(method: str) -> None:
    for name in ("Inpainting lines", "Downsampling box", "CartesianMRI lines", "Identity"):
        op = CASES[name]()
        assert isinstance(op, LinearOperator)
        prior = stationary(op)
        y = op(prior.sample(2, 3))
        x = invdiff.solve(y, op, prior, method, sigma_y=0.0, seed=0, scale=1.0, steps=40).x
        # rho is held at 1e-6 |A|^2; pigdm's last change passes the Jacobian at sigma_min, up to 1e-3 from 1
        assert torch.linalg.vector_norm(op(x) - y) < 0.01 * torch.linalg.vector_norm(y), name
