"""What holds of every projector: compiled in one piece, the same on a device, kernels that compile without one."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from invdiff.operators.base import LinearOperator
from tests.operators.cases import random

HEADER = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

def ptx(kernel, pointers, real, **known):
    names = kernel.arg_names
    pointers = dict.fromkeys(pointers, "*" + real) | {"used": "*i32"}
    kinds = {n: "constexpr" if n in known else pointers.get(n, "i32") for n in names}
    multiples = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n in ("x", "y")}
    options = {"num_warps": 4, "enable_fp_fusion": False}
    source = ASTSource(kernel, kinds, known, multiples)
    text = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
    assert ".target sm_90" in text and ".local ." not in text
    return text
"""


def check_compiled(op: LinearOperator) -> None:
    """Forward, adjoint and a gradient, with no break in the graph."""
    x, y = random(2, *op.shape_in).requires_grad_(), random(2, *op.shape_out)
    for call, at in ((op, x), (op.adjoint, y)):
        compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(at), call(at))
    misfit = torch.compile(lambda x: (op(x) - y).square().sum(), fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(misfit(x), x)
    torch.testing.assert_close(found, 2 * op.adjoint(op(x) - y).detach())


def check_on_device(op: LinearOperator, images: int) -> None:
    """Against the CPU, the same twice, and transposed."""
    x, y = random(images, *op.shape_in), random(images, *op.shape_out)
    wanted = op(x), op.adjoint(y)
    op = op.to("cuda")
    found = op(x.cuda()), op.adjoint(y.cuda())
    for a, b in zip(found, wanted, strict=True):
        assert float((a.cpu() - b).norm() / b.norm()) < 1e-5
    assert torch.equal(op.adjoint(y.cuda()), found[1])
    y = found[0] / found[0].norm() + y.cuda() / y.norm()
    dot = (found[0].double() * y).sum(), (op.adjoint(y).double() * x.cuda()).sum()
    assert float((dot[0] - dot[1]).abs()) < 1e-6 * float(found[0].norm() * y.norm())


def check_kernels(code: str, folder: Path) -> None:
    """Code that calls `ptx` of HEADER on kernels, for real numbers of each precision; spills fail."""
    own = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder)}
    ran = subprocess.run([sys.executable, "-c", HEADER + code], env=os.environ | own, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
