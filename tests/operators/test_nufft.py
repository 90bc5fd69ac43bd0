"""The non-uniform transform against its definition, and what must be refused."""

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from invdiff.operators import nufft
from invdiff.operators.kaiser_bessel import KaiserBessel
from invdiff.operators.kernels import sparse
from invdiff.operators.kernels.sparse import SparsePair
from invdiff.operators.nufft import GriddedNUFFT, make_nufft
from invdiff.operators.oversampled_grid import OversampledGrid, even_fast_size
from invdiff.testing import check_operator
from tests.operators import exact
from tests.operators.cases import positions, random

SIZES = [(64, 64), (63, 50), (17, 31), (9, 8), (5, 3), (1, 7)]
BARS = {"default": 5e-4, "high": 1.5e-5}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.complex64)


@pytest.mark.parametrize("accuracy", BARS)
@pytest.mark.parametrize("shape", SIZES)
def test_both_directions_equal_the_definition(shape: tuple[int, int], accuracy: str) -> None:
    k = positions(300, height=shape[0], width=shape[1])
    op = make_nufft(k, shape, 2, accuracy)
    x, y = noise(3, 2, *shape), noise(3, 2, 300, seed=1)
    assert exact.distance(op(x), exact.transform(x, k)) < BARS[accuracy]
    assert exact.distance(op.adjoint(y), exact.adjoint(y, k, shape)) < BARS[accuracy]


@pytest.mark.parametrize("accuracy", BARS)
def test_a_window_of_another_width_is_noticed(accuracy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bars are tight: a shape parameter 6 % off exceeds them."""
    right = KaiserBessel.shape_parameter.fget
    assert right is not None
    monkeypatch.setattr(KaiserBessel, "shape_parameter", property(lambda self: 1.06 * right(self)))
    k, x = positions(300, height=64, width=64), noise(1, 1, 64, 64)
    assert exact.distance(make_nufft(k, (64, 64), 1, accuracy)(x), exact.transform(x, k)) > BARS[accuracy]


def test_every_item_has_its_own_trajectory() -> None:
    k, x = positions(3, 40, height=9, width=8), noise(3, 2, 9, 8)
    op = make_nufft(k, (9, 8), 2, "high")
    wanted = torch.stack([exact.transform(item, points) for item, points in zip(x, k, strict=True)])
    assert op.batch == 3
    assert exact.distance(op(x), wanted) < 1.5e-5
    check_operator(op, dense=False)


@pytest.mark.parametrize("accuracy", BARS)
def test_contract(accuracy: str) -> None:
    op = make_nufft(positions(40, height=9, width=8), (9, 8), 2, accuracy)
    assert check_operator(op, dense=True)["dot"] < 1e-6
    assert check_operator(op.double(), tolerances={"dot": 1e-12, "dense": 1e-12})["dot"] < 1e-12


def test_columns_in_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    op, x = make_nufft(positions(40, height=9, width=8), (9, 8), 3), noise(2, 3, 9, 8)
    whole = op(x), op.adjoint(op(x))
    monkeypatch.setattr(nufft, "COLUMNS", 4)
    torch.testing.assert_close((op(x), op.adjoint(whole[0])), whole, rtol=1e-5, atol=1e-6)


def test_positions_are_periodic_at_the_edge() -> None:
    """Gradient delays move ends of read-outs a little past N/2, where k and k - N are the same for an image."""
    k = torch.tensor([[32.05, -3.0], [4.5, -32.7]], dtype=torch.float64)
    inside = torch.tensor([[-31.95, -3.0], [4.5, 31.3]], dtype=torch.float64)
    x = noise(1, 1, 64, 64)
    torch.testing.assert_close(
        make_nufft(k, (64, 64), 1, "high")(x), make_nufft(inside, (64, 64), 1, "high")(x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("taps", [5, 6, 12])
def test_transform_of_the_window(taps: int) -> None:
    window = KaiserBessel(taps, 2.0)
    u = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000 * taps - taps / 2
    for x in (0.0, 0.1, 0.25):
        integral = (window(u) * torch.cos(2 * math.pi * x * u)).sum() * taps / 20000
        # the window ends with a small step, which a midpoint sum does not see exactly
        torch.testing.assert_close(window.transform(torch.tensor(x).double()), integral, rtol=1e-5, atol=1e-9)
    assert window(torch.tensor(taps / 2 + 1e-9, dtype=torch.float64)) == 0


@pytest.mark.parametrize("shape", [(1, 2), (5, 8), (255, 320)])
def test_grid_is_even_and_wider_than_the_window(shape: tuple[int, int]) -> None:
    grid = OversampledGrid(shape, 1.5, 5)
    for n, m, inner in zip(shape, grid.sizes, grid.inner(), strict=True):
        assert m % 2 == 0
        assert m >= max(1.5 * n, 6)
        assert inner.start + n // 2 == m // 2
    assert even_fast_size(511) == 512
    assert even_fast_size(2 * 257 - 1) <= 528


def test_sparse_pair_is_a_matrix_and_its_transpose() -> None:
    columns, weights = torch.tensor([[0, 3], [3, 3], [4, 1]]), random(3, 2, dtype=torch.float64)
    pair = SparsePair(columns, weights, 6).double()
    dense = torch.zeros(3, 6, dtype=torch.float64)
    for i in range(3):
        for column, weight in zip(columns[i], weights[i].float().double(), strict=True):
            dense[i, column] += weight
    g, y = random(6, 4, dtype=torch.float64), random(3, 4, seed=1, dtype=torch.float64)
    torch.testing.assert_close(pair(g), dense @ g)
    torch.testing.assert_close(pair.transposed(y), dense.T @ y)


def test_matrices_beyond_32_bit_indices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "LARGEST", 5)
    with pytest.raises(ValueError, match=r"6 entries and 4 columns is too large.*accuracy=1e-4"):
        SparsePair(torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.float64), 4)


@pytest.mark.slow
def test_an_unpickled_operator_is_silent_in_a_new_process() -> None:
    """torch tells once per process that compressed rows are in beta state."""
    code = (
        "import sys, pickle, warnings; warnings.simplefilter('error'); import torch;"
        "op = pickle.load(sys.stdin.buffer); print(op(torch.ones(1, 1, 4, 4, dtype=torch.complex64)).shape)"
    )
    import pickle

    sent = pickle.dumps(make_nufft(positions(3, height=4, width=4), (4, 4), 1))
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"[1, 1, 3]" in done.stdout


GOOD = positions(9, height=32, width=20)


@pytest.mark.parametrize(
    ("trajectory", "shape", "error", "message"),
    [
        (torch.complex(GOOD[:, 0], GOOD[:, 1]), (32, 20), TypeError, r"complex. Use torch.stack\(\(ky, kx\), -1\)"),
        (GOOD.mT, (32, 20), ValueError, r"must be \(n_samples, 2\).*got \(2, 9\). Its axes are exchanged"),
        (GOOD[None, None], (32, 20), ValueError, r"Flatten read-outs with trajectory.reshape\(-1, 2\)"),
        (GOOD[:0], (32, 20), ValueError, r"got \(0, 2\)"),
        (GOOD, (32, 20, 8), ValueError, r"must be \(n_samples, 3\)"),
        (torch.where(GOOD == GOOD[3], math.nan, GOOD), (32, 20), ValueError, r"1 positions .* first at \(0, 3\)"),
        (GOOD / torch.tensor((32, 20)), (32, 20), ValueError, "looks like cycles per pixel.*16.0 and 10.0 here"),
        (GOOD * 2 * math.pi / torch.tensor((32, 20)), (32, 20), ValueError, r"radians per pixel.*N / \(2 pi\)"),
        (GOOD * 1.5, (32, 20), ValueError, r"reaches 18.* cycles per field of view along axis 0, where .* resolves 16"),
        (GOOD[:, [1, 0]], (32, 20), ValueError, "along axis 1, where an image of 20 pixels resolves 10"),
    ],
)
def test_refused_trajectories(trajectory: Tensor, shape: tuple[int, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_nufft(trajectory, shape, 1)


def test_a_sound_trajectory_is_not_refused() -> None:
    """Small images, whole positions and the centre alone are no mistakes."""
    make_nufft(positions(9, height=6, width=6), (6, 6), 1)
    make_nufft([[-16, 9], [0, 0]], (32, 20), 1)
    make_nufft(torch.zeros(1, 2), (32, 20), 1)


def test_unknown_accuracy_is_refused() -> None:
    with pytest.raises(ValueError, match='must be "default", "high" or a tolerance'):
        make_nufft(GOOD, (32, 20), 1, "higher")  # type: ignore[arg-type]


@pytest.mark.cuda
def test_cuda_equals_the_cpu() -> None:
    op, x = make_nufft(positions(300, height=63, width=50), (63, 50), 3), noise(2, 3, 63, 50)
    y = op(x)
    there = GriddedNUFFT.to(op, "cuda")
    torch.testing.assert_close(there(x.cuda()).cpu(), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(there.adjoint(y.cuda()).cpu(), op.to("cpu").adjoint(y), rtol=1e-4, atol=1e-5)
