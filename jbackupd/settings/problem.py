"""What is wrong in a file that an operator wrote: where, which key, what, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jbackupd.model.errors import ConfigError, JbackupdError
from jbackupd.model.texts import _

KeyPath = tuple[str | int, ...]
"""Names of keys, and positions in lists counted from 0."""


class WrongError(ValueError):
    """A value that a setting cannot take; validators raise it, the loader gives it a place.

    Args:
        message: English template, said after the key's name.
        hint: English template; may be empty.
        **fields: Values of the fields in both.
    """

    def __init__(self, message: str, hint: str = "", **fields: object) -> None:
        self.message = message
        self.hint = hint
        self.fields = fields
        super().__init__(message)

    @classmethod
    def of(cls, error: JbackupdError) -> WrongError:
        """Take over an error of a parser."""
        return cls(error.message, error.hint, **error.fields)

    def render(self, template: str) -> str:
        """Return a (possibly translated) template with the fields filled in; without fields, braces are braces."""
        return template.format(**self.fields) if self.fields else template


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """A line of a file; line 0 means the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        place: Where.
        path: Which key; empty for a whole file.
        wrong: What, and what to do.
    """

    place: Place
    path: KeyPath
    wrong: WrongError

    @property
    def key(self) -> str:
        """The key's path as people write it, positions counted from 1: dataset[2].source.paths."""
        text = ""
        for part in self.path:
            text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
        return text

    def __str__(self) -> str:
        key = f"{self.key}: " if self.path else ""
        message, hint = (self.wrong.render(_(text)) for text in (self.wrong.message, self.wrong.hint))
        return f"{self.place}: {key}{message}" + (f" ({hint})" if hint else "")

    def document(self) -> dict[str, object]:
        """Return the problem for machines, in English whatever the language."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "key": self.key,
            "message": self.wrong.render(self.wrong.message),
            "hint": self.wrong.render(self.wrong.hint),
        }


class Problems(tuple[Problem, ...]):
    """Problems in the order of files and lines; as a text, one line each."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self)


def refusal(problems: Iterable[Problem]) -> ConfigError:
    """Return one error that names all problems at once."""
    ordered = Problems(sorted(problems, key=lambda problem: (problem.place, problem.key)))
    return ConfigError("the configuration cannot be used:\n{problems}", problems=ordered)
