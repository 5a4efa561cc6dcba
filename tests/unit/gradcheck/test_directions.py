"""Directions: what they are made of, and what is held of them."""

from __future__ import annotations

import numpy as np

from wellposed.gradcheck.directions import (
    SPREAD,
    Direction,
    DirectionCache,
    jittered,
    random_direction,
    signs_of,
)

SHAPES, SCALES = ((300, 2), (), (5,)), (0.3, 2.0, 1.0)


def a_random_one() -> Direction:
    return random_direction((0, 1, 2), SHAPES, SCALES, (7, 1))


def test_a_random_direction_is_random_numbers_times_the_size_of_the_tensor():
    numbers = random_direction((0, 1, 2), SHAPES, (1.0, 1.0, 1.0), (7, 1))
    for i, (shape, scale) in enumerate(zip(SHAPES, SCALES, strict=True)):
        move = a_random_one().move(i)
        assert (move.dtype, move.shape) == (np.float64, shape)
        np.testing.assert_array_equal(move, numbers.move(i) * scale)


def test_random_numbers_are_whole_multiples_of_one_unit_of_either_sign():
    whole = random_direction((0,), [(40_000,)], (1.0,), (3, 1)).move(0) * SPREAD
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-12)
    assert (np.abs(whole).min().round(), np.abs(whole).max().round()) == (8, 127)
    assert abs(np.sign(whole).mean()) < 0.03
    assert abs(np.mean((whole / SPREAD) ** 2) - 1) < 0.03


def test_pieces_of_the_numbers_make_pieces_of_the_move():
    direction = a_random_one()
    numbers = direction.made(0).reshape(-1)
    pieces = [direction.scaled(0, numbers[k : k + 64]) for k in range(0, 600, 64)]
    np.testing.assert_array_equal(np.concatenate(pieces).reshape(300, 2), direction.move(0))


def test_a_random_direction_and_signs_take_one_byte_an_element():
    gradient = np.array([-2.5, 0.0, 1e-300, -0.0, 7.0])
    signs = signs_of("gradient", lambda i: gradient, (2,), SCALES)
    assert a_random_one().made(0).itemsize == signs.made(2).itemsize == 1
    np.testing.assert_array_equal(signs.move(2), [-1.0, 0.0, 1.0, 0.0, 1.0])


def test_some_tensors_or_some_elements_move_as_before():
    direction, mask = a_random_one(), np.arange(600).reshape(300, 2) % 3 == 0
    some = direction.only((2, 0))
    assert some.tensors == (0, 2)
    np.testing.assert_array_equal(some.move(2), direction.move(2))
    within = direction.within(0, mask)
    assert within.tensors == (0,)
    np.testing.assert_array_equal(within.move(0), np.where(mask, direction.move(0), 0.0))


def test_a_jittered_direction_keeps_the_signs_and_moves_half_to_one_and_a_half_times_as_far():
    direction = a_random_one()
    ratio = jittered(direction, SHAPES, (7, 2)).move(0) / direction.move(0)
    assert 0.5 <= ratio.min() < 0.51
    assert 1.49 < ratio.max() <= 1.5


def test_the_last_direction_is_held_and_no_other_and_no_floats():
    made: list[str] = []

    def direction(name: str, dtype: type) -> Direction:
        def numbers(i: int) -> np.ndarray:
            made.append(f"{name}{i}")
            return np.ones(4, dtype=dtype)

        return Direction(kind="random", tensors=(0, 1), made=numbers)

    held, a, b, floats = (
        DirectionCache(),
        direction("a", np.int8),
        direction("b", np.int8),
        direction("f", np.float64),
    )
    for one, tensor in ((a, 0), (a, 1), (a, 0), (b, 0), (a, 0), (floats, 0), (floats, 0)):
        held.numbers(one, tensor)
    assert made == ["a0", "a1", "b0", "a0", "f0", "f0"]
