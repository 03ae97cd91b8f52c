"""The commands' side of the control socket: ask the daemon, watch it, hear its errors as our own. Blocks."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

from jbackupd.model.errors import NoDaemonError, RefusedError, StorageError, TryLaterError
from jbackupd.service.wire import (
    LINE_BYTES_MAX,
    Event,
    Failure,
    Request,
    decode_answer,
    encode,
    error_of,
)

SOCKET_NAME = "control.sock"
CONNECT_SECONDS = 10.0

Watch = Callable[[dict[str, Any]], None]


def call(state: str, verb: str, watch: Watch = lambda _: None, /, **arguments: Any) -> dict[str, Any]:
    """Ask the daemon of a state folder for something and wait for the result, however long it takes.

    Going away (Ctrl-C, a closed terminal) never stops what was begun: the daemon owns it.

    Args:
        state: The state folder of the configuration.
        verb: What is wanted.
        watch: Called with every event on the way.
        **arguments: What JSON can say.

    Returns:
        The result.

    Raises:
        NoDaemonError: No daemon runs for this state folder.
        RefusedError: It is not this user's daemon.
        TryLaterError: The daemon ended before it gave a result.
        JbackupdError: Whatever the daemon met; of the same class as there.
    """
    with _connection(state) as connection:
        connection.sendall(encode(Request(verb, arguments)))
        for line in _lines(connection):
            answer = decode_answer(line)
            if isinstance(answer, Failure):
                raise error_of(answer)
            if not isinstance(answer, Event):
                return answer.body
            watch(answer.body)
    raise _gone()


@contextlib.contextmanager
def _connection(state: str) -> Iterator[socket.socket]:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_SECONDS)
        connect(connection, os.path.join(state, SOCKET_NAME))
        connection.settimeout(None)
        yield connection
    except (ConnectionError, TimeoutError) as error:
        raise _gone() from error
    finally:
        connection.close()


def connect(connection: socket.socket, path: str) -> None:
    """Connect to a daemon's socket, however long its path is.

    Raises:
        NoDaemonError: Nobody listens there.
        RefusedError: This user may not.
        StorageError: The path cannot be used.
    """
    try:
        with short_path(path) as short:
            connection.connect(short)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        raise NoDaemonError(
            "no daemon is running for {state}",
            "start it with 'systemctl start jbackupd', or add --local where a command has it",
            state=os.path.dirname(path),
        ) from error
    except PermissionError as error:
        raise RefusedError(
            "unable to speak to the daemon at {path}: permission denied",
            "run the command as root or as the daemon's own user", path=path,
        ) from error
    except TimeoutError:
        raise
    except OSError as error:
        raise StorageError(
            "unable to speak to the daemon at {path}: {reason}", path=path, reason=error.strerror
        ) from error


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """Give a socket's path a name of a few bytes: the kernel takes no more than 107 (unix(7))."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def _lines(connection: socket.socket) -> Iterator[bytes]:
    unread = bytearray()
    while data := connection.recv(1 << 16):
        unread += data
        while (end := unread.find(b"\n")) >= 0:
            yield bytes(unread[:end])
            del unread[: end + 1]
        if len(unread) > LINE_BYTES_MAX:
            break


def _gone() -> TryLaterError:
    return TryLaterError(
        "the daemon ended before it gave a result",
        "see 'jbackupd status' when it is back: what it had begun is taken up or listed there",
    )
