"""Whatever is said over the control socket: it comes back the same, or is refused with a typed error."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jbackupd.model.errors import JbackupdError, ProtocolError
from jbackupd.service.wire import (
    Event,
    Failure,
    Request,
    Result,
    decode_answer,
    decode_request,
    encode,
    error_of,
    failure_of,
)

KINDS = [JbackupdError, *JbackupdError.__subclasses__()]
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12,
)
BODIES = st.dictionaries(st.text(), PLAIN, max_size=4)
NAMES = st.text(st.characters() | st.characters(categories=["Cs"]))
"""Names of files as Python has them: bytes that are not UTF-8 are lone surrogates."""


@given(st.text(), BODIES)
def test_requests_come_back(verb: str, arguments: dict[str, Any]) -> None:
    line = encode(Request(verb, arguments))
    assert line.count(b"\n") == 1
    assert decode_request(line[:-1]) == Request(verb, arguments)


@given(BODIES, st.sampled_from([Event, Result]))
def test_answers_come_back(body: dict[str, Any], kind: type[Event] | type[Result]) -> None:
    assert decode_answer(encode(kind(body))[:-1]) == kind(body)


@given(st.sampled_from(KINDS), NAMES, NAMES, st.integers(-(2**63), 2**63 - 1))
def test_errors_come_back_as_their_class_with_any_name_in_them(
    kind: type[JbackupdError], path: str, hint: str, number: int
) -> None:
    error = kind("unable to read {path}: {number}", hint, path=path, number=number)
    answer = decode_answer(encode(failure_of(error))[:-1])
    assert isinstance(answer, Failure)
    back = error_of(answer)
    assert (type(back), back.fields["number"]) == (kind, number)
    assert back.fields["path"] == path.encode("utf-8", "backslashreplace").decode()


@settings(max_examples=300)
@given(st.binary(max_size=200) | PLAIN.map(str).map(str.encode))
def test_garbage_is_refused_with_a_typed_error(line: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            decode(line)
        except ProtocolError:
            continue
