"""The field is AES's, and shares are those that another program makes too."""

from itertools import combinations

import pyshamir
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.gf256 import evaluate, interpolate, inverse, multiply

ELEMENT = st.integers(0, 255)


def test_products_are_those_of_the_standard():
    # FIPS 197, sections 4.2 and 4.2.1.
    assert multiply(0x57, 0x83) == 0xC1
    assert multiply(0x57, 0x13) == 0xFE


def test_every_element_but_zero_has_an_inverse():
    assert [multiply(a, inverse(a)) for a in range(256)] == [0] + [1] * 255


@given(ELEMENT, ELEMENT, ELEMENT)
def test_it_is_a_field(a, b, c):
    assert multiply(a, b) == multiply(b, a)
    assert multiply(multiply(a, b), c) == multiply(a, multiply(b, c))
    assert multiply(a, b ^ c) == multiply(a, b) ^ multiply(a, c)
    assert multiply(a, 1) == a


@settings(max_examples=30)
@given(st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=6), st.data())
def test_any_k_places_give_every_other_place(coefficients, data):
    xs = data.draw(st.lists(ELEMENT, min_size=len(coefficients), max_size=len(coefficients), unique=True))
    places = [(x, evaluate(coefficients, x)) for x in xs]
    at = data.draw(ELEMENT)
    assert interpolate(places, at=at) == evaluate(coefficients, at)
    assert interpolate(places) == coefficients[0]


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32))
def test_another_program_combines_our_shares_and_we_its(secret):
    theirs = [(part[-1], bytes(part[:-1])) for part in pyshamir.split(secret, 5, 3)]
    ours = [(x, evaluate([secret, b"r" * 32, b"q" * 32], x)) for x in range(1, 6)]
    for places in combinations(theirs, 3):
        assert interpolate(places) == secret
    for places in combinations(ours, 3):
        assert pyshamir.combine([bytearray(values) + bytes((x,)) for x, values in places]) == secret
