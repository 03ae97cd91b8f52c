"""Bytes in, bytes out: cutting, delta, sealing, keys, shares. Pure."""
