"""Shares: k give the secret, fewer do not, and a bad one is named."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.codec.shares import Share, combine, split
from jbackupd.model.errors import ShareError, UsageError

SECRET = bytes(range(1, 33))


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


def test_every_single_changed_character_is_refused_and_the_line_named() -> None:
    text = made(2, 3)[0].to_text()
    lines = text.splitlines(keepends=True)
    start = len(lines[0]) + len(lines[1])
    for position in range(start, len(text)):
        if text[position] in "-\n ":
            continue
        other = "7" if text[position] != "7" else "8"
        with pytest.raises(ShareError) as caught:
            Share.from_text(text[:position] + other + text[position + 1 :], source="usb.share")
        assert "usb.share" in str(caught.value)


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
