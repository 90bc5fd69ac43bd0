"""Streams depend on the seed and the sample, never on the batch or the global generator."""

import pytest
import torch

from invdiff.random import Noise, mix, streams


def test_a_stream_does_not_depend_on_batch_or_samples() -> None:
    wide, _ = streams(7, batch=3, samples=2)
    narrow, _ = streams(7, batch=2, samples=1)
    x, y = wide.like(torch.zeros(6, 5)), narrow.like(torch.zeros(2, 5))
    torch.testing.assert_close(x[[0, 2]], y, rtol=0, atol=0)
    assert not torch.equal(x[0], x[1])


def test_seeds_zero_and_one_differ_and_repeat() -> None:
    draw = {s: streams(s, 1)[0].like(torch.zeros(1, 100)) for s in (0, 1)}
    assert not torch.equal(draw[0], draw[1])
    torch.testing.assert_close(draw[0], streams(0, 1)[0].like(torch.zeros(1, 100)), rtol=0, atol=0)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    streams(None, 2)[0].like(torch.zeros(2, 3))
    streams(5, 2)[0].like(torch.zeros(2, 3, dtype=torch.complex64))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_complex_draws_have_unit_variance_in_each_component() -> None:
    z = torch.view_as_real(Noise([1]).like(torch.zeros(1, 100_000, dtype=torch.complex64)))
    torch.testing.assert_close(z.std((0, 1)), torch.ones(2), rtol=0.02, atol=0)  # standard error 0.2 per cent
    assert abs(float((z[..., 0] * z[..., 1]).mean())) < 0.02


def test_a_generator_is_taken_and_gives_the_seed_reported() -> None:
    noise, number = streams(torch.Generator().manual_seed(4), 1)
    again, _ = streams(number, 1)
    torch.testing.assert_close(noise.like(torch.zeros(1, 9)), again.like(torch.zeros(1, 9)), rtol=0, atol=0)


def test_every_shares_the_generators() -> None:
    noise, _ = streams(0, 2, 3)
    part = noise.every(3, 1)
    assert part.generators == [noise.generators[1], noise.generators[4]]


def test_restored_streams_go_on_where_the_states_were_taken() -> None:
    noise, _ = streams(0, 2)
    noise.like(torch.zeros(2, 3))
    states = noise.states()
    on, further = (noise.like(torch.zeros(2, 5)) for _ in range(2))
    other, _ = streams(1, 2)
    other.restore(states)
    again = other.like(torch.zeros(2, 5))
    torch.testing.assert_close(again, on, rtol=0, atol=0)
    assert not torch.equal(again, further)
    with pytest.raises(ValueError, match="shorter"):
        streams(0, 3)[0].restore(states)


def test_mix_spreads_neighbours() -> None:
    values = {mix(s, i, j) for s in range(10) for i in range(10) for j in range(10)}
    assert len(values) == 1000


def test_another_default_device_does_not_move_the_draws() -> None:
    """Streams are drawn on the CPU; without saying so, torch would draw on the default device and refuse."""
    x, expected = torch.zeros(2, 3), streams(torch.Generator().manual_seed(4), 2)[0].like(torch.zeros(2, 3))
    with torch.device("meta"):
        drawn = streams(torch.Generator().manual_seed(4), 2)[0].like(x)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=0)
