"""What the operating system says, in words for people: the one place where its reasons are named and translated."""

from __future__ import annotations

import os
import re

from jbackupd.model.texts import _, to_translate

_NUMBERED = re.compile(r"\[Errno (\d+)\]")
_SILENT = to_translate("no answer came in time")
SYSTEM_REASONS = frozenset({
    _SILENT,
    to_translate("Operation not permitted"),
    to_translate("No such file or directory"),
    to_translate("Interrupted system call"),
    to_translate("Input/output error"),
    to_translate("No such device or address"),
    to_translate("Exec format error"),
    to_translate("Resource temporarily unavailable"),
    to_translate("Cannot allocate memory"),
    to_translate("Permission denied"),
    to_translate("Device or resource busy"),
    to_translate("File exists"),
    to_translate("Invalid cross-device link"),
    to_translate("No such device"),
    to_translate("Not a directory"),
    to_translate("Is a directory"),
    to_translate("Invalid argument"),
    to_translate("Too many open files in system"),
    to_translate("Too many open files"),
    to_translate("Text file busy"),
    to_translate("File too large"),
    to_translate("No space left on device"),
    to_translate("Illegal seek"),
    to_translate("Read-only file system"),
    to_translate("Too many links"),
    to_translate("Broken pipe"),
    to_translate("File name too long"),
    to_translate("Directory not empty"),
    to_translate("Too many levels of symbolic links"),
    to_translate("Value too large for defined data type"),
    to_translate("Operation not supported"),
    to_translate("Address already in use"),
    to_translate("Cannot assign requested address"),
    to_translate("Network is down"),
    to_translate("Network is unreachable"),
    to_translate("Connection reset by peer"),
    to_translate("Connection timed out"),
    to_translate("Connection refused"),
    to_translate("No route to host"),
    to_translate("Stale file handle"),
    to_translate("Disk quota exceeded"),
    to_translate("Remote I/O error"),
    to_translate("Name or service not known"),
    to_translate("No address associated with hostname"),
    to_translate("Temporary failure in name resolution"),
})
"""As strerror(3) and gai_strerror(3) of glibc have them: reasons travel in English, and are translated when shown."""


def in_words(value: object) -> object:
    """Return a value for people: a reason of the system in the current language, anything else as it is."""
    return _(value) if isinstance(value, str) and value in SYSTEM_REASONS else value


def reason_of(error: BaseException) -> str:
    """Return why something failed, without numbers and Python's own words; English, for `in_words` to translate."""
    if isinstance(error, OSError) and error.errno is not None:
        # Errors of name resolution have negative numbers, which strerror does not know.
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    if numbered := _NUMBERED.search(str(error)):
        # asyncio joins the failures of several addresses into one text; the first stands for all.
        return os.strerror(int(numbered[1]))
    if isinstance(error, TimeoutError):
        return _SILENT
    return str(error) or type(error).__name__
