"""Cards: what is handed out is read as it was, and not when a character of it has changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jbackupd.codec.signing import SiteSigner
from jbackupd.format.identity import Card, CardKind, decode_card, encode_card
from jbackupd.model.errors import FormatError

VERIFIER = SiteSigner(bytes(range(64))).public
SITE = Card(CardKind.SITE, "saga", VERIFIER, b"s" * 32)
OFFICER = Card(CardKind.OFFICER, "fukuda", VERIFIER)


@pytest.mark.parametrize("card", [SITE, OFFICER])
def test_a_card_is_read_as_it_was_written(card):
    text = encode_card(card)
    assert decode_card(text.encode(), card.kind) == card
    assert decode_card(text.replace("\n", "\r\n").encode(), card.kind) == card
    assert text.isascii() and max(map(len, text.splitlines())) < 80


def test_a_site_is_no_officer():
    with pytest.raises(FormatError, match="not of the kind that is needed here: officer"):
        decode_card(encode_card(SITE).encode(), CardKind.OFFICER)


def test_every_changed_byte_is_refused():
    data = encode_card(SITE).encode()
    for place in range(len(data) - 1):
        for value in {data[place] ^ 1, 0x20, 0x0A} - {data[place]}:
            with pytest.raises(FormatError):
                decode_card(data[:place] + bytes((value,)) + data[place + 1 :], CardKind.SITE)


def test_a_card_that_is_cut_off_is_refused():
    data = encode_card(SITE).encode()
    for length in range(len(data) - 2):
        with pytest.raises(FormatError):
            decode_card(data[:length], CardKind.SITE)


def test_the_fingerprint_can_be_read_over_the_telephone():
    groups = SITE.fingerprint.split(" ")
    assert [len(group) for group in groups] == [4] * 5 and all(group.isdigit() for group in groups)
    assert Card(CardKind.SITE, "saga", VERIFIER, b"t" * 32).fingerprint != SITE.fingerprint


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_card_or_malformed(data):
    for candidate in (data, b"# jbackupd card 1\n" + data):
        with pytest.raises(FormatError):
            decode_card(candidate, CardKind.SITE)
