"""Texts for people in their language: English in the code, Japanese from the translation beside it.

`_` marks and translates a text. The language is the process's own (`set_language`, the command line
and the daemon), or one of a single piece of work (`in_language`, a web request).
"""

from __future__ import annotations

import contextlib
import gettext
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cache

LANGUAGES = ("ja", "en")
DOMAIN = "jbackupd"
LOCALE_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "locale")


class _Process:
    """One process speaks one language."""

    language = "en"


_work_language: ContextVar[str | None] = ContextVar("work_language", default=None)


@cache
def _translations(language: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE_FOLDER, languages=[language], fallback=True)


def _(msgid: str) -> str:
    """Return a text in the current language; the English text itself where there is no translation."""
    # The empty msgid is the catalogue's header, never a text.
    return _translations(language()).gettext(msgid) if msgid else ""


def counted(one: str, many: str, count: int, **fields: object) -> str:
    """Return a text that counts something, in the current language; `count` is a field of both forms.

    Args:
        one: For exactly one: "{count} point".
        many: For any other number: "{count} points".
        count: How many.
        **fields: Further fields.
    """
    return _translations(language()).ngettext(one, many, count).format(count=count, **fields)


def language() -> str:
    """Return the current language, "ja" or "en"."""
    return _work_language.get() or _Process.language


def set_language(name: str) -> None:
    """Choose the process's language.

    Raises:
        ValueError: It is neither "ja" nor "en".
    """
    if name not in LANGUAGES:
        raise ValueError(name)
    _Process.language = name


@contextlib.contextmanager
def in_language(name: str) -> Iterator[None]:
    """Speak another language in this task or thread for a while."""
    if name not in LANGUAGES:
        raise ValueError(name)
    token = _work_language.set(name)
    try:
        yield
    finally:
        _work_language.reset(token)


def language_of(environment: Mapping[str, str]) -> str:
    """Return the language that a process environment asks for, by POSIX precedence; else English."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(variable)
        if value:
            return "ja" if value.lower().startswith("ja") else "en"
    return "en"


def to_translate(msgid: str) -> str:
    """Return the text as it is: marks one that is translated only when it is shown."""
    return msgid
