"""Reasons of the system: without numbers, and in the language of whoever reads them."""

import errno
import os
import socket

import pytest

from jbackupd.model.errors import StorageError
from jbackupd.model.reasons import SYSTEM_REASONS, in_words, reason_of
from jbackupd.model.texts import counted, in_language

COMMON = [
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EISDIR,
    errno.ENOTDIR, errno.ENAMETOOLONG, errno.EMFILE, errno.ELOOP, errno.ESTALE, errno.EBUSY, errno.EADDRINUSE,
    errno.EADDRNOTAVAIL, errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH,
]


@pytest.mark.parametrize("number", COMMON, ids=lambda number: errno.errorcode[number])
def test_a_common_reason_is_shown_in_japanese_and_kept_in_english(number):
    error = StorageError("unable to read {path}: {reason}", path="/x", reason=os.strerror(number))
    with in_language("ja"):
        assert os.strerror(number) not in error.render(error.message)
        # Journals and logs for machines stay English.
        assert os.strerror(number) in str(error)
    assert os.strerror(number) in error.render(error.message)


def test_every_reason_has_a_japanese_text_of_its_own():
    with in_language("ja"):
        assert len({in_words(reason) for reason in SYSTEM_REASONS} - SYSTEM_REASONS) == len(SYSTEM_REASONS)


def test_what_is_no_reason_of_the_system_is_left_alone():
    with in_language("ja"):
        assert [in_words(value) for value in (7, None, "imari", ("No such device",))] == [
            7, None, "imari", ("No such device",)
        ]


@pytest.mark.parametrize(("error", "reason"), [
    (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 7420)"), "Connection refused"),
    (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 113] x"), "Connection refused"),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
    (TimeoutError(), "no answer came in time"),
    (ValueError("a port is below 65536"), "a port is below 65536"),
    (ValueError(), "ValueError"),
])
def test_a_reason_has_neither_numbers_nor_the_words_of_python(error, reason):
    assert reason_of(error) == reason


def test_one_is_not_many():
    texts = ("{count} file", "{count} files")
    assert [counted(*texts, count) for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    with in_language("ja"):
        assert [counted(*texts, count) for count in (1, 2)] == ["1 ファイル", "2 ファイル"]
