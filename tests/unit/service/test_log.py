"""The log survives every name, and says the same in every form."""

from __future__ import annotations

import io
import json
import logging
import socket
from pathlib import Path

import pytest

from jbackupd.model import texts
from jbackupd.model.errors import StorageError
from jbackupd.service.log import JournalSink, Log, TextSink, logging_to


class Stream(io.StringIO):
    """A text stream over bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = io.BytesIO()


def written(form, *calls, level="debug") -> bytes:
    stream = Stream()
    with logging_to(form, level, stream) as log:
        for call in calls:
            call(log)
    return stream.buffer.getvalue()


def test_reasons_of_the_system_are_in_the_readers_language_and_fields_for_machines_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failed(log: Log) -> None:
        log.warning("{path}: {reason}", path="/x", reason="Permission denied")

    # The log writes in a thread of its own, in the process's language.
    monkeypatch.setattr(texts._Process, "language", "ja")
    document = json.loads(written("json", failed))
    assert document["message"] == "/x: 権限がありません"
    assert document["fields"]["reason"] == "Permission denied"


def test_json_is_one_document_a_line_with_fields_and_time() -> None:
    lines = written("json", lambda log: log.info("{dataset}: point {sequence} taken", dataset="imari/juki", sequence=3))
    document = json.loads(lines)
    assert document["message"] == "imari/juki: point 3 taken"
    assert document["fields"] == {"dataset": "imari/juki", "sequence": 3}
    assert (document["level"], document["time"][-1]) == ("info", "Z")


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("name", ["税/令和.txt", "\udc8f\udc5a\udcff", "two\nlines", "\x1b[2J", "{braces}", "%s %d"])
def test_any_name_is_written_and_moves_no_cursor(form, name) -> None:
    data = written(form, lambda log: log.warning("unable to read {path}", path=name))
    assert b"unable to read " in data
    assert b"\x1b" not in data
    if form == "json":
        assert data.count(b"\n") == 1
        json.loads(data)


def test_an_error_in_a_field_is_said_with_its_own_fields() -> None:
    error = StorageError("unable to sync {path}: {reason}", path="/srv", reason="input/output error")
    data = written("text", lambda log: log.error("{dataset}: no point: {reason}", dataset="a/b", reason=error))
    assert b"a/b: no point: unable to sync /srv: input/output error" in data


def test_a_template_with_a_missing_field_is_written_as_it_is() -> None:
    assert b"no {such} field" in written("text", lambda log: log.info("no {such} field", other=1))


def test_a_defect_comes_with_its_traceback() -> None:
    def call(log: Log) -> None:
        try:
            raise KeyError("seat")
        except KeyError as error:
            log.defect("backup", error)

    data = written("text", call)
    assert b"Traceback" in data
    assert b"KeyError: 'seat'" in data


def test_lines_below_the_level_and_chatter_of_libraries_are_left_out() -> None:
    def chatter(log: Log) -> None:
        logging.getLogger("asyncssh").info("chatter")
        logging.getLogger("asyncssh").warning("a library warns")

    data = written("text", lambda log: log.debug("detail"), lambda log: log.info("news"), chatter, level="info")
    assert b"detail" not in data
    assert b"chatter" not in data
    assert b"news" in data
    assert b"a library warns" in data


def test_prefixed_lines_carry_their_priority_on_each_line() -> None:
    stream = Stream()
    sink = TextSink(stream, prefixed=True)
    sink.emit(logging.LogRecord("jbackupd", logging.WARNING, "", 0, "one\ntwo", (), None))
    assert stream.buffer.getvalue() == b"<4>one\n<4>two\n"


def test_the_journal_gets_fields_and_any_bytes(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(5)
        sink = JournalSink(str(tmp_path / "journal"))
        record = logging.LogRecord("jbackupd", logging.ERROR, "", 0, "%s", ("x",), None)
        record.template, record.fields = "unable to read {path}\n{why}", {"path": "\udc8fZ", "why": "damaged"}
        sink.emit(record)
        sink.close()
        data = journal.recv(65536)
    message = b"unable to read \x8f\x5a\ndamaged"
    assert b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n" in data
    assert b"PRIORITY=3\n" in data
    assert b"SYSLOG_IDENTIFIER=jbackupd\n" in data
    assert b"JBACKUPD_PATH=\x8f\x5a\n" in data


def test_a_sink_that_fails_does_not_stop_the_daemon() -> None:
    stream = Stream()
    stream.buffer.close()
    with logging_to("text", "info", stream) as log:
        log.info("into the void")
