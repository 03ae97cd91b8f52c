"""The daemon's log: templates with fields, written by a thread of its own to the journal, as JSON, or as text.

A full disk, a stuck journal or a name that is not UTF-8 never stops the daemon: lines that find no room are counted
and the number is written when there is room again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any, Literal, TextIO

from jbackupd.model.errors import JbackupdError
from jbackupd.model.reasons import in_words
from jbackupd.model.texts import _

JOURNAL_SOCKET = "/run/systemd/journal/socket"
WAITING_MAX = 10_000
MESSAGE_CHARACTERS_MAX = 16_000
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
Form = Literal["journal", "json", "text"]


class Log:
    """Writes to the log; every line is a template in the process's language, filled in by the sink.

    Args:
        logger: Where it goes.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("jbackupd")

    def debug(self, message: str, **fields: object) -> None:
        """Write what only a developer wants to see."""
        self._write(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: object) -> None:
        """Write what went as it should."""
        self._write(logging.INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Write what somebody should look at within the day."""
        self._write(logging.WARNING, message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Write what somebody should look at now."""
        self._write(logging.ERROR, message, fields)

    def defect(self, where: str, error: BaseException) -> None:
        """Write a defect of ours, with its traceback."""
        self._logger.error("defect in %s", where, exc_info=error, extra={"fields": {"where": where}})

    def _write(self, level: int, message: str, fields: dict[str, object]) -> None:
        self._logger.log(level, "%s", message, extra={"template": message, "fields": fields})


def text_of(record: logging.LogRecord) -> str:
    """Return a record's message in the process's language, with its fields filled in."""
    template = getattr(record, "template", None)
    if template is None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        return text[:MESSAGE_CHARACTERS_MAX]
    fields = {name: _shown(value) for name, value in record.__dict__["fields"].items()}
    try:
        return str(template.format(**fields))[:MESSAGE_CHARACTERS_MAX]
    except (KeyError, IndexError, ValueError):
        return str(template)


def _shown(value: object) -> object:
    """Return a field for people: errors translated, control characters escaped."""
    if isinstance(value, JbackupdError):
        value = value.render(_(value.message))
    value = in_words(value)
    if isinstance(value, str) and not value.isprintable():
        return "".join(c if c.isprintable() or c == "\n" or "\udc80" <= c <= "\udcff" else repr(c)[1:-1] for c in value)
    return value


class TextSink(logging.Handler):
    """Lines for a terminal, or for journald behind a pipe."""

    def __init__(self, stream: TextIO, *, prefixed: bool = False) -> None:
        super().__init__()
        self._stream = stream
        self._prefixed = prefixed

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        text = text_of(record)
        if self._prefixed:
            # Each line is an entry of its own for journald: sd-daemon(3).
            line = "".join(f"<{_priority(record)}>{part}\n" for part in text.splitlines() or [""])
        else:
            line = f"{_moment(record)} {record.levelname.lower():7} {text}\n"
        _write_bytes(self._stream, _bytes(line))


class JsonSink(logging.Handler):
    """One JSON document a line."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        fields = getattr(record, "fields", {})
        document: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "message": text_of(record),
            "fields": {name: value if isinstance(value, int) else str(value) for name, value in fields.items()},
        }
        line = json.dumps(document, ensure_ascii=False)
        # JSON is UTF-8 by definition; bytes of names that are not become visible escapes.
        _write_bytes(self._stream, line.encode("utf-8", "backslashreplace") + b"\n")


class JournalSink(logging.Handler):
    """Native entries of the journal, with every field for itself (journalctl JBACKUPD_DATASET=imari/juki).

    Source: systemd, "Native Journal Protocol".
    """

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.connect(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; journald's own queue makes this thread wait, not the daemon."""
        fields = {"MESSAGE": text_of(record), "PRIORITY": str(_priority(record)), "SYSLOG_IDENTIFIER": "jbackupd"}
        for name, value in getattr(record, "fields", {}).items():
            fields["JBACKUPD_" + name.upper()] = str(value)[:1000]
        with contextlib.suppress(OSError):
            self._socket.send(b"".join(_journal_field(name, value) for name, value in fields.items()))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def _bytes(text: str) -> bytes:
    """Return a text's bytes; those of a name that is not UTF-8 are what the file system has."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _journal_field(name: str, value: str) -> bytes:
    data = _bytes(value)
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


class _BoundedHandler(QueueHandler):
    """Hands records to the writing thread as they are; counts those that find no room."""

    dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
            if self.dropped:
                count, self.dropped = self.dropped, 0
                Log().warning(_("{count} lines of the log found no room"), count=count)
        except queue.Full:
            self.dropped += 1


class _Listener(QueueListener):
    """The writing thread; a record that cannot be written must not end it."""

    def handle(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            super().handle(record)


@contextlib.contextmanager
def logging_to(form: Form, level: str, stream: TextIO | None = None) -> Iterator[Log]:
    """Write the log for as long as the context lasts; what is queued is written before it ends.

    Args:
        form: "journal" falls back to lines with priorities where no journal listens.
        level: The least that is written.
        stream: Instead of standard error.
    """
    lines: queue.Queue[logging.LogRecord] = queue.Queue(WAITING_MAX)
    sink = _sink(form, stream or sys.stderr)
    listener = _Listener(lines, sink)
    handler = _BoundedHandler(lines)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    set_level(level)
    listener.start()
    try:
        yield Log()
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        listener.stop()
        sink.close()


def set_level(level: str) -> None:
    """Change the least that is written of our own lines; others' are written from warnings on."""
    logging.getLogger("jbackupd").setLevel(level.upper())


def _sink(form: Form, stream: TextIO) -> logging.Handler:
    if form == "json":
        return JsonSink(stream)
    if form == "text":
        return TextSink(stream)
    # Started by hand, a daemon with the default configuration talks to whoever started it.
    if "JOURNAL_STREAM" in os.environ:
        with contextlib.suppress(OSError):
            return JournalSink()
        return TextSink(stream, prefixed=True)
    return TextSink(stream)


def _priority(record: logging.LogRecord) -> int:
    return next((priority for level, priority in _PRIORITIES if record.levelno >= level), 7)


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write_bytes(stream: TextIO, data: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.buffer.write(data)
        stream.flush()
