"""Secrets do not belong in a configuration: it is copied, shown, and kept in version control.

Key files stay in the state folder, for the service user alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jbackupd.settings.problem import KeyPath, Place, Problem, WrongError
from jbackupd.settings.schema import Settings

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
    wrong = WrongError(
        "looks like a secret; the configuration is no place for one",
        "let the program read it from a file of its own with mode 0600 (for PostgreSQL: ~/.pgpass)",
    )
    return [
        Problem(lines[path], path, wrong) for path, value in _leaves(tables, ()) if _is_secret(path, value)
    ]


def key_file_problems(settings: Settings, place: Callable[[KeyPath], Place]) -> Iterator[Problem]:
    """Yield a problem for a key file of this site that others than its owner may use."""
    path = os.path.join(settings.site.state, "site", "identity.key")
    try:
        mode = os.stat(path).st_mode & 0o777
    except OSError:
        # Not made yet, or not ours to see: whoever opens it says so.
        return
    if mode & 0o077:
        wrong = WrongError("others may use the key file {path}", "chmod 600 {path}", path=path)
        yield Problem(place(("site", "state")), ("site", "state"), wrong)


def _is_secret(path: KeyPath, value: object) -> bool:
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if key == "private_key" and isinstance(value, str) and value.startswith("/"):
        # Where the key of a desk's certificate lies, not the key.
        return False
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
