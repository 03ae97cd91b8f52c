"""What is said over the control socket: one JSON document a line, bounded, errors with their class.

    asks     {"verb": "backup", "arguments": {"datasets": ["imari/juki"]}}
    answers  {"type": "event", "body": {...}}       none or many, while it goes on
             {"type": "result", "body": {...}}      the end
             {"type": "failure", "code": "busy", "message": ..., "hint": ..., "fields": {...}}   or this end

An error's message and hint are templates, its fields strings, whole numbers, or true and false, so that whoever hears
it can say it in the language of the person in front of the terminal.
"""

from __future__ import annotations

from typing import Any

import msgspec

from jbackupd.model.errors import InvariantError, JbackupdError, ProtocolError

LINE_BYTES_MAX = 4 * 1024 * 1024
"""The status of a prefecture's 2,000 datasets takes about 1 MB."""
REQUEST_BYTES_MAX = 256 * 1024
"""A declaration with its approvals is the longest request: about 30 kB."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a command wants."""

    verb: str
    arguments: dict[str, Any] = {}


class Event(msgspec.Struct, frozen=True, tag="event"):
    """Something that happened while the verb goes on."""

    body: dict[str, Any]


class Result(msgspec.Struct, frozen=True, tag="result"):
    """The verb's end."""

    body: dict[str, Any]


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """The verb's other end: an error of our tree, or a defect."""

    code: str
    message: str
    hint: str = ""
    fields: dict[str, str | int | bool] = {}


Answer = Event | Result | Failure
DEFECT = "defect"


def encode(document: Request | Answer) -> bytes:
    """Return a document as one line; bytes in names that are not UTF-8 become backslash escapes.

    Raises:
        InvariantError: It is longer than a line may be, or holds what JSON cannot.
    """
    try:
        line = msgspec.json.encode(document, enc_hook=str) + b"\n"
    except UnicodeEncodeError:
        line = msgspec.json.encode(_clean(msgspec.to_builtins(document, enc_hook=str))) + b"\n"
    if len(line) > LINE_BYTES_MAX:
        raise InvariantError(f"{len(line)} bytes are too long for a line of the control socket")
    return line


def decode_request(line: bytes) -> Request:
    """Read a request.

    Raises:
        ProtocolError: It is not one.
    """
    try:
        return msgspec.json.decode(line, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError("this is not a request: {reason}", reason=str(error)) from error


def decode_answer(line: bytes) -> Answer:
    """Read an answer.

    Raises:
        ProtocolError: It is not one.
    """
    try:
        return msgspec.json.decode(line, type=Answer)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(
            "unable to understand the daemon: {reason}", "let the command and the daemon be of the same version",
            reason=str(error),
        ) from error


def failure_of(error: Exception) -> Failure:
    """Return an error as it travels; whatever is not of our tree is a defect and travels by its name only."""
    if isinstance(error, JbackupdError):
        fields = {name: _field(value) for name, value in error.fields.items()}
        return Failure(error.code, error.message, error.hint, fields)
    return Failure(DEFECT, "{what}", fields={"what": f"{type(error).__name__}: {error}"})


def error_of(failure: Failure) -> JbackupdError:
    """Return the error that a failure carries, of the same class; an unknown code is the tree's root."""
    kind = _classes().get(failure.code, JbackupdError)
    if failure.code == DEFECT:
        return kind(
            "the daemon met a defect of its own: {what}", "look into its log, and report it", **failure.fields
        )
    return kind(failure.message, failure.hint, **failure.fields)


def _field(value: object) -> str | int | bool:
    return value if isinstance(value, (int, str)) else str(value)


def _clean(value: Any) -> Any:
    """Replace what UTF-8 cannot carry, however deep it lies."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _classes() -> dict[str, type[JbackupdError]]:
    """Return the class of each code; the class nearest the root where several share one."""
    found: dict[str, type[JbackupdError]] = {}
    level: list[type[JbackupdError]] = [JbackupdError]
    while level:
        for kind in level:
            found.setdefault(kind.code, kind)
        level = [child for kind in level for child in kind.__subclasses__()]
    return found
