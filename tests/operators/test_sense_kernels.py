"""Fused kernels of coil images against their definition in double precision, in Triton's interpreter or on a device."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from invdiff.operators import CartesianMRI, NonCartesianMRI
from invdiff.operators.kernels import sense
from invdiff.operators.kernels.backend import using
from invdiff.operators.linear_map import linear_map
from invdiff.shapes import Shape
from invdiff.testing import check_operator
from tests.operators.cases import CASES, coil_maps, lines, random

pytest.importorskip("triton")

SCANS = [name for name in CASES if "MRI" in name]
# Image, grid, items, items of the maps, coils: odd sizes, several programs to a row, padding along every axis.
SIZES: list[tuple[Shape, Shape, int, int, int]] = [
    ((7, 5), (7, 5), 2, 1, 3),
    ((1, 1), (1, 1), 1, 1, 1),
    ((17, 31), (17, 31), 1, 1, 2),
    ((2, 3), (3, 300), 2, 2, 2),
    ((3, 4), (3, 8), 1, 1, 1),
    ((2, 3, 5), (2, 3, 5), 2, 2, 2),
    ((2, 1, 3), (3, 2, 4), 2, 1, 2),
]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where the kernels run, with Triton chosen for them."""
    if request.param == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("kernels are compiled here; the interpreter needs TRITON_INTERPRET=1")
    with using("triton"):
        yield torch.device(request.param)


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.complex64) -> Tensor:
    return random(*shape, seed=seed, dtype=dtype)


def expanded(x: Tensor, maps: Tensor, grid: Shape) -> Tensor:
    """The definition in double precision."""
    z = torch.zeros(len(x), maps.shape[1], *grid, dtype=torch.complex128)
    corner = tuple(slice(n) for n in x.shape[2:])
    for b in range(len(x)):
        for c in range(maps.shape[1]):
            z[b, c][corner] = maps[b % len(maps), c].to(z) * x[b, 0].to(z)
    return z


def combined(z: Tensor, maps: Tensor) -> Tensor:
    x = torch.zeros(len(z), 1, *maps.shape[2:], dtype=torch.complex128)
    corner = tuple(slice(n) for n in maps.shape[2:])
    for b in range(len(z)):
        for c in range(maps.shape[1]):
            x[b, 0] += maps[b % len(maps), c].to(x).conj() * z[b, c][corner].to(x)
    return x


def check_rounding(found: Tensor, wanted: Tensor, terms: Tensor, count: int) -> None:
    """Every entry within the rounding of its sum, 2 count products and sums of what `terms` adds up; zeros exactly."""
    allowed = (2 * count + 2) * torch.finfo(found.dtype).eps * terms.real
    error = (found.cpu().to(torch.complex128) - wanted).abs()
    assert bool((error <= allowed).all()), f"off by {float((error - allowed).max()):.1e} more than rounding"


@pytest.mark.parametrize(("shape", "grid", "items", "own", "coils"), SIZES)
def test_definition(shape: Shape, grid: Shape, items: int, own: int, coils: int, device: torch.device) -> None:
    x, maps = draw(items, 1, *shape, seed=0), draw(own, coils, *shape, seed=1)
    z = draw(items, coils, *grid, seed=2)
    found = sense.expand(x.to(device), maps.to(device), grid)
    check_rounding(found, expanded(x, maps, grid), expanded(x.abs(), maps.abs(), grid), 1)
    found = sense.combine(z.to(device), maps.to(device), shape)
    check_rounding(found, combined(z, maps), combined(z.abs(), maps.abs()), coils)


@pytest.mark.parametrize("data", [torch.complex64, torch.complex128])
def test_precision_is_the_wider_one(data: torch.dtype, device: torch.device) -> None:
    x, maps = draw(1, 1, 3, 4, seed=0, dtype=data), draw(1, 2, 3, 4, seed=1, dtype=torch.complex128)
    z = sense.expand(x.to(device), maps.to(device))
    check_rounding(z, expanded(x, maps, (3, 4)), expanded(x.abs(), maps.abs(), (3, 4)), 1)
    back = sense.combine(z, maps.to(device))
    check_rounding(back, combined(z.cpu(), maps), combined(z.cpu().abs(), maps.abs()), 2)
    assert z.dtype == back.dtype == torch.complex128


@pytest.mark.parametrize("fault", ["conjugate", "coil", "pixel"])
def test_planted_faults_are_noticed(fault: str, device: torch.device) -> None:
    z, maps = draw(1, 3, 4, 5, seed=0), draw(1, 3, 4, 5, seed=1)
    wrong = {"conjugate": maps.conj(), "coil": maps * torch.tensor([1, 1, 0])[:, None, None], "pixel": maps.roll(1, -1)}
    found = sense.combine(z.to(device), wrong[fault].to(device))
    with pytest.raises(AssertionError, match="more than rounding"):
        check_rounding(found, combined(z, maps), combined(z.abs(), maps.abs()), 3)


def test_each_is_the_adjoint_of_the_other(device: torch.device) -> None:
    """<E x, z> = <x, E^H z> in double precision, z correlated with E x."""
    x, maps = draw(2, 1, 3, 4, seed=0, dtype=torch.complex128), draw(1, 2, 3, 4, seed=1, dtype=torch.complex128)
    x, maps = x.to(device), maps.to(device)
    z = sense.expand(x, maps, (5, 6))
    y = z + draw(*z.shape, seed=2, dtype=torch.complex128).to(device)
    back = sense.combine(y, maps, (3, 4))
    error = torch.vdot(z.flatten(), y.flatten()) - torch.vdot(x.flatten(), back.flatten())
    assert abs(error) < 1e-14 * z.norm() * y.norm()


def test_memory_layout_does_not_matter(device: torch.device) -> None:
    x, maps = draw(1, 1, 4, 3, seed=0).to(device), draw(1, 2, 4, 3, seed=1).to(device)
    z = sense.expand(x, maps)
    spread = torch.stack((x, x), -1)[..., 0]
    assert torch.equal(sense.expand(x.mT.contiguous().mT, maps.conj().resolve_conj().conj()), z)
    assert torch.equal(sense.expand(spread.expand(2, -1, -1, -1), maps)[1:], z)
    assert torch.equal(sense.combine(z.mT.contiguous().mT, maps), sense.combine(z, maps))


@pytest.mark.parametrize("name", SCANS)
def test_operators_are_those_of_plain_torch(name: str, device: torch.device) -> None:
    """To 1e-6, the rounding of a transform in single precision."""
    op = CASES[name]().to(device)
    batch = max(op.batch, 2)
    x = draw(batch, *op.shape_in, seed=0, dtype=torch.complex64 if op.complex_in else torch.float32).to(device)
    y = draw(batch, *op.shape_out, seed=1).to(device)
    ours = op(x), op.adjoint(y), op.normal(x)
    with using("torch"):
        plain = op(x), op.adjoint(y), op.normal(x)
    for a, b in zip(ours, plain, strict=True):
        assert float((a - b).norm()) < 1e-6 * float(b.norm())


def test_convolution_in_three_dimensions(device: torch.device) -> None:
    """Images padded to the grid and cropped from it along every axis."""
    pytest.importorskip("finufft")
    shape = (2, 3, 4)
    k = random(30, 3).double().clamp(-1, 1) * torch.tensor(shape) / 2
    op = NonCartesianMRI(k, draw(2, *shape, seed=1)).to(device)
    x = draw(2, 1, *shape, seed=2).to(device)
    ours = op.normal(x)
    with using("torch"):
        plain = op.normal(x)
    assert float((ours - plain).norm()) < 1e-6 * float(plain.norm())


def test_contract_of_a_small_scan(device: torch.device) -> None:
    """Gradients, dot products, double precision, independence of the batch; coils on one axis only."""
    check_operator(CartesianMRI(lines(3), coil_maps(2, 4, 3)).to(device), dense=False)


@pytest.mark.cuda
@pytest.mark.parametrize("name", SCANS)
def test_contract_on_a_device(name: str) -> None:
    check_operator(CASES[name]().to("cuda"), dense=False)


def test_gradients_to_second_order(device: torch.device) -> None:
    """`linear_map` makes of the pair a differentiable map."""
    maps = draw(1, 2, 2, 3, seed=1, dtype=torch.complex128).to(device)
    x = draw(1, 1, 2, 3, seed=0, dtype=torch.complex128).to(device).requires_grad_()

    def apply(x: Tensor) -> Tensor:
        return linear_map(x, lambda x: sense.expand(x, maps), lambda z: sense.combine(z, maps))

    assert torch.autograd.gradcheck(apply, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: apply(x).abs().square(), x, fast_mode=True)
    with pytest.raises(RuntimeError, match="Wrap what they are part of in linear_map"):
        sense.expand(x, maps)


def test_registration(device: torch.device) -> None:
    """Schema, fake tensors and tracing, by torch's own checks."""
    x, maps, z = (draw(*s, seed=0).to(device) for s in ((2, 1, 3, 4), (1, 2, 3, 4), (2, 2, 5, 4)))
    sense.expand(x, maps)
    torch.library.opcheck(torch.ops.invdiff.expand.default, (x, maps, [5, 4]))
    torch.library.opcheck(torch.ops.invdiff.combine.default, (z, maps))


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # torch's own access
@pytest.mark.parametrize("name", ["CartesianMRI coils", "NonCartesianMRI coils"])
def test_compiled_operators(name: str, device: torch.device) -> None:
    op = CASES[name]().to(device)
    x = draw(2, *op.shape_in, seed=0).to(device).requires_grad_()
    for call in (op, op.normal):
        torch.compiler.reset()
        plain = call(x)  # computes what an operator keeps
        y = torch.compile(call, backend="aot_eager", dynamic=False)(x)
        torch.testing.assert_close(y, plain)
        (gradient,), (wanted,) = (torch.autograd.grad(v.abs().square().sum(), x) for v in (y, plain))
        torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize(
    ("x", "maps", "grid"),
    [
        ((2, 1, 3, 4), (3, 2, 3, 4), None),
        ((2, 2, 3, 4), (1, 2, 3, 4), None),
        ((2, 1, 3, 4), (1, 2, 3, 5), None),
        ((2, 1, 3, 4), (1, 2, 12), None),
        ((2, 1, 3, 4), (1, 2, 3, 4), (3, 3)),
        ((2, 1, 3, 4), (1, 2, 3, 4), (12,)),
    ],
)
def test_shapes_that_do_not_fit(x: Shape, maps: Shape, grid: Shape | None) -> None:
    with pytest.raises(ValueError, match=r"^expand: maps .* do not fit\. Wanted are"):
        sense.expand(torch.ones(x), torch.ones(maps), grid)


def test_coil_images_that_do_not_fit() -> None:
    for z, shape in (((1, 3, 3, 4), None), ((1, 2, 3, 4), (3, 5)), ((1, 2, 2, 4), (3, 4))):
        with pytest.raises(ValueError, match=r"^combine: maps"):
            sense.combine(torch.ones(z), torch.ones(1, 2, 3, 4), shape)


COMPILE = """
import sys
import torch
from invdiff.operators import CartesianMRI
op = CartesianMRI(torch.ones(4), torch.ones(2, 6, 4, dtype=torch.complex64))
op.normal(torch.ones(1, 1, 6, 4, dtype=torch.complex64))
assert "triton" not in sys.modules, "the CPU needs no Triton"

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from invdiff.operators.kernels.sense_triton import BLOCK, combine_kernel, expand_kernel

def ptx(kernel, real, ones, even):
    names = kernel.arg_names
    known = {"coils": 16, "BLOCK": BLOCK} | {name: 1 for name in ones}
    kinds = {n: "*" + real if n in names[:3] else "constexpr" if n in known else "i32" for n in names}
    multiples = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if even and n not in known}
    source = ASTSource(kernel, kinds, known, multiples)
    options = {"num_warps": 4, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]

flat = ("D", "H", "GD", "GH")
for kernel in (expand_kernel, combine_kernel):
    text = ptx(kernel, "fp32", flat, True)
    assert ".target sm_90" in text and text.count("ld.global.v4") == 2 and text.count("st.global.v4") == 1, text
    assert not any(word in text for word in ("bar.sync", "fma.rn", ".local .")), text
    for real, ones, even in (("fp32", ("D", "GD"), True), ("fp32", (*flat, "W", "GW"), False), ("fp64", (), False)):
        assert ".target sm_90" in ptx(kernel, real, ones, even)
"""


@pytest.mark.slow
def test_compiles_for_a_device_without_one(tmp_path: Path) -> None:
    """Flat images of even sizes in vectors of 16 bytes, without shared memory, spills or fused rounding."""
    own = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", COMPILE], env=os.environ | own, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
