"""Secrets do not belong in a configuration: it is copied, shown, and kept in version control."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jbackupd.settings.lines import KeyPath
from jbackupd.settings.problem import Place, Problem, key_text

_SECRET_KEY = re.compile(
    r"(?i)(?:^|[_-])(?:password|passwd|passphrase|secret|token|private[_-]?key|api[_-]?key|seed)s?$"
)
_SECRET_VALUES = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@]+@"),
    re.compile(r"(?i)(?:^|[\s;?&])(?:PGPASSWORD|MYSQL_PWD|--?password|--passwd|password)=[^\s$]"),
)


def secret_problems(tables: Mapping[str, Any], lines: Mapping[KeyPath, Place]) -> list[Problem]:
    """Return a problem for every key or value that looks like a secret; the value is never repeated."""
    return [
        Problem(
            lines[path], key_text(path), "looks like a secret; the configuration is no place for one",
            "let the program read it from a file of its own with mode 0600 (for PostgreSQL: ~/.pgpass)",
        )
        for path, value in _leaves(tables, ())
        if _is_secret(path, value)
    ]


def _is_secret(path: KeyPath, value: object) -> bool:
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    return _SECRET_KEY.search(key) is not None or (
        isinstance(value, str) and any(pattern.search(value) for pattern in _SECRET_VALUES)
    )


def _leaves(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _leaves(below, (*path, index))
    else:
        yield path, value
