"""The blur that depends on the image: what it keeps, where it becomes a plain blur, what makes it non-linear."""

import pytest
import torch

from invdiff.operators import Blur, NonlinearBlur
from invdiff.operators.psf import motion_kernel
from invdiff.random import mix
from tests.operators.cases import random

SHAPE = (2, 16, 13)


def test_constants_stay_and_extremes_bound() -> None:
    op, x = NonlinearBlur(SHAPE, seed=1, size=7), random(2, *SHAPE)
    for value in (-1.0, 0.0, 0.7):
        torch.testing.assert_close(op(torch.full((1, *SHAPE), value)), torch.full((1, *SHAPE), value))
    y = op(x)
    assert float(y.max()) <= float(x.max())
    assert float(y.min()) >= float(x.min())
    assert y.std() < 0.7 * x.std()  # it does blur


def test_one_kernel_is_a_plain_blur() -> None:
    op, x = NonlinearBlur(SHAPE, seed=5, kernels=1, size=7, intensity=0.3), random(2, *SHAPE)
    plain = Blur(motion_kernel(7, 0.3, mix(5, 0)), SHAPE, padding="reflect")
    torch.testing.assert_close(op(x), plain(x), rtol=1e-5, atol=1e-6)


def test_the_brightness_decides() -> None:
    x = random(1, *SHAPE, dtype=torch.float64)
    linear = NonlinearBlur(SHAPE, strength=0, size=7).double()
    torch.testing.assert_close(linear(2 * x), 2 * linear(x), rtol=1e-10, atol=1e-10)
    op = NonlinearBlur(SHAPE, size=7).double()
    assert (op(2 * x) - 2 * op(x)).norm() > 0.02 * op(x).norm()
    dark, bright = (op.weights(torch.full((1, *SHAPE), v, dtype=torch.float64)) for v in (-1.0, 1.0))
    torch.testing.assert_close(
        (bright / dark).log().diff(dim=1), (2 * op.strength * op.slopes).diff(dim=1).expand(1, 3, 16, 13)
    )


def test_it_varies_over_the_image() -> None:
    op, point = NonlinearBlur((1, 32, 32), size=7), torch.zeros(1, 1, 32, 32)
    point[..., 8, 8] = 1
    moved = op(point.roll((14, 14), (-2, -1))).roll((-14, -14), (-2, -1))
    assert (moved - op(point)).norm() > 0.05 * op(point).norm()


def test_the_same_picture_in_other_units() -> None:
    x, a, b = random(2, *SHAPE, dtype=torch.float64), 50.0, 20.0
    physical = NonlinearBlur(SHAPE, size=7, range=(b - a, b + a)).double()(a * x + b)
    torch.testing.assert_close(physical, a * NonlinearBlur(SHAPE, size=7).double()(x) + b, rtol=1e-6, atol=1e-6)


def test_the_seed_fixes_it() -> None:
    x = random(1, *SHAPE)
    state = torch.get_rng_state()
    first, again, other = (NonlinearBlur(SHAPE, seed=seed, size=7)(x) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert (first - other).norm() > 0.05 * first.norm()
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="kernels must be at least 1"):
        NonlinearBlur(SHAPE, kernels=0)
    with pytest.raises(ValueError, match="strength must be at least 0"):
        NonlinearBlur(SHAPE, strength=-1)
    with pytest.raises(ValueError, match="take kernels up to"):
        NonlinearBlur((1, 5, 5), size=15)
    with pytest.raises(ValueError, match="finite and increasing"):
        NonlinearBlur(SHAPE, range=(1.0, -1.0))
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        NonlinearBlur((16, 13))
