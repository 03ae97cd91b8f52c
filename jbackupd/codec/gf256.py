"""Polynomials over GF(256), one for each byte of a secret: evaluate and interpolate.

The field is that of AES, modulo x^8 + x^4 + x^3 + x + 1. Multiplication shifts and adds in the same
steps for all operands: a table would be indexed by the secret, and what was looked up shows in
the processor's caches.

Source: FIPS 197, section 4.2; CVE-2023-25000 for what tables tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

_MODULUS = 0x11B


def multiply(a: int, b: int) -> int:
    """Return the product of two elements, 0 to 255."""
    product = 0
    for _ in range(8):
        product ^= a & -(b & 1)
        a = (a << 1) ^ (_MODULUS & -(a >> 7))
        b >>= 1
    return product


@cache
def inverse(a: int) -> int:
    """Return a^254, which is 1/a; 0 for 0. Only of public operands: what was asked before is remembered."""
    square = multiply(a, a)
    result = square
    for _ in range(6):
        square = multiply(square, square)
        result = multiply(result, square)
    return result


def evaluate(coefficients: Sequence[bytes], x: int) -> bytes:
    """Evaluate at x one polynomial for each byte position, by Horner's rule.

    Args:
        coefficients: Constant terms first; all of one length.
    """
    result = bytes(len(coefficients[0]))
    for row in reversed(coefficients):
        result = bytes(multiply(value, x) ^ term for value, term in zip(result, row, strict=True))
    return result


def interpolate(places: Sequence[tuple[int, bytes]], *, at: int = 0) -> bytes:
    """Evaluate at a place the polynomials of least degree through some values, by Lagrange's formula.

    Args:
        places: x, and each polynomial's value there; no x twice, all values of one length.
        at: 0 for the constant terms.
    """
    result = bytes(len(places[0][1]))
    for x, values in places:
        weight = 1
        for other, _ in places:
            if other != x:
                weight = multiply(weight, multiply(at ^ other, inverse(x ^ other)))
        result = bytes(total ^ multiply(value, weight) for total, value in zip(result, values, strict=True))
    return result
