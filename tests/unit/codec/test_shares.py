"""Shares: k give the secret, fewer do not, and a bad one is named."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.paper import bytes_of, lines_of
from jbackupd.codec.shares import Share, combine, split
from jbackupd.model.errors import ShareError, UsageError

SECRET = bytes(range(1, 33))
GOLDEN = (
    """jbackupd share 1
for imari: share 1 of 3, 2 needed, set 0109111921293139
01 040G-J48S-44MK-2E82-0C0G-ATBD-C5S6-J808 75WG
02 2CD2-AB1Q-7S4M-0PTJ-DNJ7-YXMH-K21R-NDDW R0GG
03 MYQD-KM6B-RBYZ-9VZ6-476P-T32N-K6YS-T5W8 7FF0
04 3NBB-DE16-C4F0-ASZ6-NFZA-31HQ-EY8T-4VWT JQPG
05 X7BJ-6YYA-9D0Q-2JB2-WM XJ60
""",
    """jbackupd share 1
for imari: share 3 of 3, 2 needed, set 0109111921293139
01 040G-J48S-44MK-2E82-0C1G-ATBD-C5S6-J80T R5B0
02 64M6-EZJN-9K5X-5YF0-NYV9-V148-J6XA-7V7N 57Y0
03 VV3M-0PBJ-DCJ3-T5GF-4F6P-T32N-K6YS-T5W8 7ZZ0
04 3NBB-DE16-C4F0-ASZ6-NFZA-31HQ-EY8T-4VWT JQPG
05 X7BJ-69JG-JXVV-RMQN-SG DD80
""",
)


def made(threshold: int, count: int, secret: bytes = SECRET) -> list[Share]:
    return split(secret, threshold=threshold, count=count, label="imari")


def reread(share: Share) -> Share:
    return Share.from_text(share.to_text(), source=f"file{share.index}.share")


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (2, 3), (3, 5), (4, 7), (5, 9)])
def test_every_sufficient_subset_gives_the_secret_and_no_smaller_one_does(threshold: int, count: int) -> None:
    shares = made(threshold, count)
    for size in range(1, count + 1):
        for subset in combinations(shares, size):
            if size >= threshold:
                assert combine(subset) == SECRET
            else:
                with pytest.raises(ShareError, match=f"{size} of the {threshold}"):
                    combine(subset)


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=64), st.integers(1, 6), st.integers(0, 4))
def test_any_secret_survives_its_text_form(secret: bytes, threshold: int, more: int) -> None:
    shares = [reread(share) for share in made(threshold, threshold + more, secret)]
    assert combine(shares[-threshold:]) == secret


def test_every_single_changed_byte_is_refused_and_the_file_named_or_changes_nothing() -> None:
    share = made(2, 3)[0]
    data = share.to_text().encode()
    lines_begin = len(data.split(b"\n")[0]) + len(data.split(b"\n")[1]) + 2
    refused = 0
    for position in range(len(data)):
        for other in (data[position] ^ 1, 0x37, 0x5A, 0x0A, 0xFF):
            changed = data[:position] + bytes((other,)) + data[position + 1 :]
            try:
                read = Share.from_file(changed, source="usb.share")
            except ShareError as error:
                refused += 1
                assert "usb.share" in str(error)
            else:
                assert replace(read, source="") == share
                sign = chr(data[position])
                # Two lines for people, letters that look alike, and what stands between groups carry nothing.
                assert position < lines_begin or not sign.isalnum() or sign == chr(other) or sign in "01V"
    assert refused > 500


def test_lower_case_missing_hyphens_and_letters_that_look_alike_are_read() -> None:
    share = made(2, 3)[1]
    title, label, *lines = share.to_text().splitlines()
    sloppy = "\n".join("  " + line[:3] + line[3:].lower().replace("-", " ").replace("0", "o") + "  " for line in lines)
    assert Share.from_text(f"note\n{title}\n{label}\n\n{sloppy}", source="x") == replace(share, source="x")


def test_a_missing_line_and_exchanged_lines_are_named() -> None:
    lines = made(2, 3)[0].to_text().splitlines()
    with pytest.raises(ShareError, match="line 2 of a is missing"):
        Share.from_text("\n".join(lines[:3] + lines[4:]), source="a")
    with pytest.raises(ShareError, match="line 1 of a is missing"):
        Share.from_text("\n".join([*lines[:2], lines[3], lines[2], *lines[4:]]), source="a")
    with pytest.raises(ShareError, match="not a whole share"):
        Share.from_text("\n".join(lines[:-1]), source="a")
    with pytest.raises(ShareError, match="holds no share"):
        Share.from_text("hello", source="a")


def test_a_forged_share_with_right_checks_is_told_apart_when_there_is_one_more() -> None:
    one, two, three = made(2, 3)
    forged = Share(two.set_id, 2, 3, 2, "imari", bytes(32), two.commitment, "second.share")
    with pytest.raises(ShareError, match=r"these shares are bad: second\.share"):
        combine([one, forged, three])
    with pytest.raises(ShareError, match=r"at least one of share 1, second\.share is bad"):
        combine([one, forged])


def test_foreign_and_double_shares_are_named() -> None:
    one, two, _ = made(2, 3)
    stranger = made(2, 3)[1]
    with pytest.raises(ShareError, match="share 2 is of another set than share 1"):
        combine([one, stranger])
    with pytest.raises(ShareError, match="is the same share as"):
        combine([one, one, two])
    with pytest.raises(ShareError, match="no share was given"):
        combine([])


def test_the_odd_share_is_named_wherever_it_stands() -> None:
    one, two, _ = made(2, 3)
    stranger = replace(made(2, 3)[2], source="odd.share")
    for shares in ([stranger, one, two], [one, stranger, two], [one, two, stranger]):
        with pytest.raises(ShareError, match=r"odd\.share is of another set than share 1"):
            combine(shares)


def test_a_forged_share_of_another_length_is_told() -> None:
    one, two, _ = made(2, 3)
    short = reread(replace(two, values=two.values[:31]))
    with pytest.raises(ShareError, match="is of another set than"):
        combine([one, short])


def test_several_bad_shares_among_many_are_told_apart() -> None:
    shares = made(5, 9)
    bad = [replace(share, values=bytes(32)) if share.index in (1, 4, 8) else share for share in shares]
    with pytest.raises(ShareError, match=r"these shares are bad: share 1, share 4, share 8$"):
        combine(bad)


@pytest.mark.parametrize("label", ["伊万里", "a\x1b[2J", "two\nlines", "x" * 256])
def test_a_label_that_could_not_be_printed_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="label"):
        split(SECRET, threshold=2, count=3, label=label)


def rechecked(share: Share, change: Callable[[bytearray], None]) -> str:
    """Return a share's text after a change that its checks do not tell."""
    body = bytearray(bytes_of(share.to_text(), "x")[:-8])
    change(body)
    return "\n".join(lines_of(bytes(body) + blake3.blake3(body).digest(8)))


def test_a_share_of_a_later_version_says_so() -> None:
    text = rechecked(made(2, 3)[0], lambda body: body.__setitem__(0, 2))
    with pytest.raises(ShareError, match="share of version 2; this program knows version 1"):
        Share.from_text(text, source="a")


@pytest.mark.parametrize(
    ("place", "value"), [(9, 0), (9, 4), (10, 1), (11, 0), (11, 4), (12, 200), (13, 0x1B), (13, 0xE5)]
)
def test_a_forged_share_with_impossible_fields_is_refused(place: int, value: int) -> None:
    # Index 0 would be the secret itself; a label with escape sequences would reach the terminal.
    text = rechecked(made(2, 3)[2], lambda body: body.__setitem__(place, value))
    with pytest.raises(ShareError, match="a is not a whole share"):
        Share.from_text(text, source="a")


def test_nothing_secret_is_in_what_is_printed_for_debugging() -> None:
    share = made(2, 3)[0]
    assert "values" not in repr(share) and "commitment" not in repr(share)


def test_the_share_of_format_1_stays_readable() -> None:
    assert combine([Share.from_text(text, source="golden") for text in GOLDEN]) == SECRET


@pytest.mark.parametrize(("threshold", "count"), [(0, 3), (4, 3), (2, 256)])
def test_impossible_numbers_are_refused(threshold: int, count: int) -> None:
    with pytest.raises(UsageError):
        made(threshold, count)


def test_fewer_shares_than_needed_say_nothing_of_the_secret() -> None:
    # With k = 2, one share's byte is uniform whatever the secret: over all coefficients every value occurs once.
    for secret in (b"\x00", b"\xa7"):
        values = set()
        for coefficient in range(256):
            draws = iter([b"s" * 8, bytes((coefficient,))])
            shares = split(secret, threshold=2, count=2, label="x", random=lambda _, draws=draws: next(draws))
            values.add(shares[0].values)
        assert len(values) == 256


@given(st.text(max_size=300))
def test_any_text_is_a_share_or_a_named_error(text: str) -> None:
    with pytest.raises(ShareError):
        Share.from_text(text, source="a")
