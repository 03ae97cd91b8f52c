"""Promises at rest: golden bytes, and the cost of a code at its real price."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jbackupd.codec.signing import SiteSigner
from jbackupd.format.promise import Promise, commitment_of, decode_promise, sign_promise
from jbackupd.model.ids import SiteId

AT = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC)
CODE = "12345678901234567891"
COMMITMENT = bytes.fromhex("042fa6f25c0a089987e60e6500ef486243f0a7581370dd714ed6302397cb83e5")
SIGNED = bytes.fromhex(
    "99a46d6f7269a473616761a56b796f746f0207cf000660e72453f115cf00068055c4d9f115c4107373737373737373737373"
    "7373737373c420042fa6f25c0a089987e60e6500ef486243f0a7581370dd714ed6302397cb83e5"
)


def promise() -> Promise:
    return Promise(
        "mori", SiteId("saga"), SiteId("kyoto"), 2, 7, AT, AT + timedelta(days=400), b"s" * 16, COMMITMENT
    )


def test_a_commitment_is_what_it_always_was() -> None:
    """Argon2id, 3 iterations, 64 MiB, one lane: a change makes every printed code worthless."""
    assert commitment_of(CODE, b"s" * 16) == COMMITMENT
    assert promise().opened_by(CODE) and not promise().opened_by(CODE[:-1] + "2")


def test_a_promises_bytes_are_what_they_always_were() -> None:
    signed = sign_promise(promise(), SiteSigner(b"m" * 64))
    assert signed.signed == SIGNED
    assert decode_promise(SIGNED) == promise() == signed.promise
