"""Padmé: round a length up so that it says little.

Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with
PURBs", PoPETs 2019, section 4: at most 12 % more bytes, falling with size, and a length tells
only O(log log n) bits.
"""

from __future__ import annotations


def padme(length: int) -> int:
    """Return the padded length: at least the length, equal for all lengths of one class."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    mantissa_bits = exponent.bit_length()
    mask = (1 << (exponent - mantissa_bits)) - 1 if exponent > mantissa_bits else 0
    return (length + mask) & ~mask
