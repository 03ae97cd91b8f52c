"""What pydantic found, in our words: the key's path, what is wrong, and the word that was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jbackupd.settings.problem import KeyPath, Place, Problem, WrongError
from jbackupd.settings.suggest import nearest

_NO_TABLE = WrongError("must be a table", "write its name in brackets, and its keys below")
_TEMPLATES = {
    "missing": WrongError("is missing", "{page} says what it may be"),
    "union_tag_not_found": WrongError("kind is missing", "write kind = and one of the words in {page}"),
    "string_type": WrongError("must be a text in quotes"),
    "string_too_short": WrongError("cannot be empty"),
    "string_too_long": WrongError("is longer than {max_length} characters"),
    "string_pattern_mismatch": WrongError("is not a file name", "write a name without slashes"),
    "int_type": WrongError("must be a whole number without quotes"),
    "bool_type": WrongError("must be true or false without quotes"),
    "tuple_type": WrongError("must be a list", "write it in brackets: [ ... ]"),
    "too_short": WrongError("needs at least one value"),
    "greater_than_equal": WrongError("must be {ge} or more"),
    "less_than_equal": WrongError("must be {le} or less"),
    "model_type": _NO_TABLE,
    "model_attributes_type": _NO_TABLE,
}
_CHOICES = {"literal_error": "expected", "union_tag_invalid": "expected_tags"}


def explain(
    error: ValidationError,
    model: type[BaseModel],
    data: Mapping[str, Any],
    place: Callable[[KeyPath], Place],
) -> Iterator[Problem]:
    """Yield one problem for everything that pydantic found.

    Args:
        error: From validating the model.
        model: What the file should be.
        data: The tables that were validated.
        place: Tells where a key was written.
    """
    for details in error.errors(include_url=False):
        path = _written_path(details["loc"], data)
        yield Problem(place(path), path, _wrong(details, path, model))


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


def _wrong(details: ErrorDetails, path: KeyPath, model: type[BaseModel]) -> WrongError:
    context: dict[str, Any] = details.get("ctx", {})
    kind = details["type"]
    cause = context.get("error")
    if isinstance(cause, WrongError):
        return cause
    if kind == "extra_forbidden":
        return _unknown_key(path, model)
    if kind in _CHOICES:
        return _unknown_word(details["input"], context[_CHOICES[kind]])
    template = _TEMPLATES.get(kind)
    if template is None:
        return WrongError("{reason}", reason=details["msg"])
    return WrongError(template.message, template.hint, page=getattr(model, "page", ""), **context)


def _unknown_word(value: object, expected: str) -> WrongError:
    """Explain a word that is none of the allowed ones."""
    if isinstance(value, Mapping):
        value = value.get("kind")
    words = [word.strip("' ") for word in expected.replace(" or ", ", ").split(", ")]
    meant = nearest(value, words) if isinstance(value, str) else None
    if meant is None:
        return WrongError("{text!r} is not known here", "possible: {words}", text=value, words=", ".join(words))
    return WrongError(
        "{text!r} is not known here", "did you mean {meant!r}? Possible: {words}",
        text=value, meant=meant, words=", ".join(words),
    )


def _unknown_key(path: KeyPath, model: type[BaseModel]) -> WrongError:
    """Explain a key that does not exist: a slip, or one that belongs into another table."""
    key = str(path[-1])
    own = ".".join(part for part in path[:-1] if isinstance(part, str))
    tables = list(tables_of(model, ""))
    known = {name for table, names in tables if table == own for name in names}
    meant = nearest(key, known)
    if meant:
        return WrongError("there is no such key", "did you mean {meant!r}?", meant=meant)
    elsewhere = sorted({table for table, names in tables if key in names and table})
    if elsewhere:
        return WrongError(
            "there is no such key here", "it belongs to: {tables}", tables=", ".join(elsewhere)
        )
    return WrongError("there is no such key", "possible: {words}", words=", ".join(sorted(known)))


def tables_of(model: type[BaseModel], name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every table of the schema with its keys; a source comes once for each kind."""
    yield name, [field.alias or key for key, field in model.model_fields.items()]
    for key, field in model.model_fields.items():
        for below in _models_in(field.annotation):
            yield from tables_of(below, f"{name}.{field.alias or key}".lstrip("."))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
