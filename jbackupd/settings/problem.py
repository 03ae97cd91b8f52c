"""What is wrong in a file that an operator wrote: where, which key, what, and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass, field

from jbackupd.model.errors import ConfigError, JbackupdError
from jbackupd.model.texts import _


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
        key: The key's full path, for example dataset[2].source.paths; empty for a whole file.
        message: English template.
        hint: English template; may be empty.
        fields: Values of the fields in both templates.
    """

    place: Place
    key: str
    message: str
    hint: str = ""
    fields: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.render(self.hint)})" if self.hint else ""
        return f"{self.place}: {key}{self.render(self.message)}{hint}"

    def render(self, template: str) -> str:
        """Return a template in the current language with the fields filled in."""
        return _(template).format(**self.fields) if template else ""

    def document(self) -> dict[str, object]:
        """Return the problem for machines, in English whatever the language."""
        texts = {"message": self.message.format(**self.fields), "hint": self.hint.format(**self.fields)}
        return {"file": self.place.file, "line": self.place.line, "key": self.key, **texts}


class Problems(tuple[Problem, ...]):
    """Problems in the order of files and lines; as a text, one line each."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self)


def refuse(problems: list[Problem]) -> ConfigError:
    """Return one error that names all problems at once."""
    ordered = Problems(sorted(problems, key=lambda problem: (problem.place, problem.key)))
    return ConfigError("the configuration cannot be used:\n{problems}", problems=ordered)


def key_text(path: tuple[str | int, ...]) -> str:
    """Return a key's path as people write it: dataset[2].source.paths, counted from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text
