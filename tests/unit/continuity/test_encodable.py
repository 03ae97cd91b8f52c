"""What an encoding lacks is marked and named; what it has passes unchanged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jbackupd.continuity.encodable import ENCODINGS, MARK, encodable


@given(st.text(alphabet=st.sampled_from("山田葛\U000e0100髙﨑〜−𠮟\ue000aア゛é\u0301"), max_size=30),
       st.sampled_from(ENCODINGS))
def test_it_can_be_written_and_nothing_is_lost_silently(text, encoding) -> None:
    kept, replaced = encodable(text, encoding)
    assert kept.encode(encoding).decode(encoding) == kept
    if not replaced:
        assert kept == text
    for characters, stands in replaced:
        assert characters in text and stands != characters
        assert stands in kept
    if encoding == "utf-8":
        assert kept == text


def test_one_shape_by_another_code_point_and_marks_for_what_is_missing() -> None:
    assert encodable("〜", "cp932") == ("～", [("〜", "～")])
    assert encodable("𠮟る", "cp932") == (f"{MARK}る", [("𠮟", MARK)])
    assert encodable("葛\U000e0100城", "cp932") == ("葛城", [("葛\U000e0100", "葛")])
