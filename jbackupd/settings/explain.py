"""What pydantic found, in our words: the key's path, what is wrong, and the word that was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jbackupd.settings.lines import KeyPath
from jbackupd.settings.problem import Place, Problem, WrongError, key_text
from jbackupd.settings.schema import Settings
from jbackupd.settings.suggest import nearest

_TEMPLATES = {
    "missing": ("is missing", "write it; `jbackupd config schema` says what it may be"),
    "union_tag_not_found": ("{tag} is missing", "write one of: {words}"),
    "string_type": ("must be a text in quotes", ""),
    "string_too_short": ("cannot be empty", ""),
    "string_too_long": ("is longer than {max_length} characters", ""),
    "string_pattern_mismatch": ("is not a file name", "write a name without slashes"),
    "int_type": ("must be a whole number without quotes", ""),
    "bool_type": ("must be true or false without quotes", ""),
    "tuple_type": ("must be a list", "write it in brackets: [ ... ]"),
    "too_short": ("needs at least one value", ""),
    "greater_than_equal": ("must be {ge} or more", ""),
    "less_than_equal": ("must be {le} or less", ""),
    "model_type": ("must be a table", "write [table] and its keys below, or { key = value }"),
    "model_attributes_type": ("must be a table", "write [table] and its keys below, or { key = value }"),
}
_CHOICES = {"literal_error": "expected", "union_tag_invalid": "expected_tags"}


def explain(
    error: ValidationError, data: Mapping[str, Any], place: Callable[[KeyPath], Place]
) -> Iterator[Problem]:
    """Yield one problem for everything that pydantic found.

    Args:
        error: From validating `Settings`.
        data: The tables that were validated.
        place: Tells where a key was written.
    """
    for details in error.errors(include_url=False):
        path = _written_path(details["loc"], data)
        message, hint, fields = _words(details, path)
        yield Problem(place(path), key_text(path), message, hint, fields)


def _written_path(location: tuple[int | str, ...], data: Mapping[str, Any]) -> KeyPath:
    """Return the path as the operator wrote it: without the tag that pydantic adds for `kind`."""
    path: list[str | int] = []
    here: Any = data
    for part in location:
        if isinstance(here, Mapping) and part not in here and here.get("kind") == part:
            continue
        path.append(part)
        if isinstance(here, Mapping):
            here = here.get(str(part))
        elif isinstance(here, list) and isinstance(part, int):
            here = here[part]
    return tuple(path)


def _words(details: ErrorDetails, path: KeyPath) -> tuple[str, str, dict[str, object]]:
    """Return message, hint and fields for one finding."""
    context: dict[str, Any] = details.get("ctx", {})
    kind = details["type"]
    cause = context.get("error")
    if isinstance(cause, WrongError):
        return cause.message, cause.hint, cause.fields
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind in _CHOICES:
        return _unknown_word(details["input"], path, context[_CHOICES[kind]])
    message, hint = _TEMPLATES[kind]
    fields: dict[str, object] = dict(context)
    if kind == "union_tag_not_found":
        fields = {"tag": "kind", "words": "files, command"}
    return message, hint, fields


def _unknown_word(value: object, path: KeyPath, expected: str) -> tuple[str, str, dict[str, object]]:
    """Explain a word that is none of the allowed ones."""
    if isinstance(value, Mapping):
        value = value.get("kind")
    words = [word.strip("' ") for word in expected.replace(" or ", ", ").split(", ")]
    meant = nearest(value, words) if isinstance(value, str) else None
    fields: dict[str, object] = {"text": value, "words": ", ".join(words), "meant": meant}
    if meant:
        return "{text!r} is not known here", "did you mean {meant!r}? Possible: {words}", fields
    return "{text!r} is not known here", "possible: {words}", fields


def _unknown_key(path: KeyPath) -> tuple[str, str, dict[str, object]]:
    """Explain a key that does not exist: a slip, or one that belongs into another table."""
    key = str(path[-1])
    tables = list(_tables(Settings, ""))
    own = _table_of(path[:-1])
    known = [name for table, names in tables if table == own for name in names]
    meant = nearest(key, known)
    if meant:
        return "there is no such key", "did you mean {meant!r}?", {"meant": meant}
    elsewhere = sorted({table for table, names in tables if key in names and table})
    if elsewhere:
        return "there is no such key here", "it belongs to: {tables}", {"tables": ", ".join(elsewhere)}
    return "there is no such key", "possible: {words}", {"words": ", ".join(sorted(set(known)))}


def _table_of(path: KeyPath) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _tables(model: type[BaseModel], name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every table of the schema with its keys; a source comes once for each kind."""
    yield name, [field.alias or key for key, field in model.model_fields.items()]
    for key, field in model.model_fields.items():
        for below in _models_in(field.annotation):
            yield from _tables(below, f"{name}.{field.alias or key}".lstrip("."))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
