"""The process of one mounted overlay: `python -m jbackupd.restore.mounting`. Started by `mounted.Mounted`.

A process of its own, since whoever uses the mount waits for it alone: not for the daemon's other work, and a fault
in libfuse ends no desk. It has no keys and opens no vault: what the overlay lacks it asks its parent for.

What it lacks comes over sockets, one question at a time on each (`question`, `answer`). It says on standard output, a
JSON object a line: {"event": "ready"}, {"event": "filled", "missing_bytes": N, "problems": N}. When its standard
input ends, its parent has gone, or wants it to end: it unmounts and ends too.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import resource
import signal
import socket
import struct
import sys
import threading
from typing import Any

from jbackupd.model.errors import JbackupdError
from jbackupd.restore.filling import Fill, FillResult
from jbackupd.restore.lazy import Contents

QUESTION = struct.Struct("<QQQ")
"""File, offset, length."""
ANSWER = struct.Struct("<iQ")
"""0 or an errno, and how many bytes follow."""


class AskedContents:
    """What is missing, asked for over sockets; see `lazy.Contents`.

    Args:
        sockets: Each carries one question at a time.
    """

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._free: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        for one in sockets:
            self._free.put(one)

    def close(self) -> None:
        """Close the sockets."""
        for one in self._sockets:
            one.close()

    def read(self, number: int, offset: int, length: int) -> bytes:
        """Return bytes of a file.

        Raises:
            OSError: They cannot be had, or the parent has gone.
        """
        connection = self._free.get()
        try:
            connection.sendall(QUESTION.pack(number, offset, length))
            code, size = ANSWER.unpack(_exactly(connection, ANSWER.size))
            if code:
                raise OSError(code, os.strerror(code))
            return _exactly(connection, size)
        finally:
            self._free.put(connection)


def answer(connection: socket.socket, contents: Contents) -> None:
    """Answer questions until the other side ends. Blocks."""
    while True:
        try:
            question = _exactly(connection, QUESTION.size)
        except OSError:
            return
        try:
            data, code = contents.read(*QUESTION.unpack(question)), 0
        except OSError as error:
            data, code = b"", error.errno or errno.EIO
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(ANSWER.pack(code, len(data)))
            connection.sendall(data)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = view[count:]
    return bytes(data)


def _say(event: str, **fields: Any) -> None:
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({"event": event, **fields}).encode() + b"\n")


def _filled(result: FillResult) -> None:
    _say("filled", missing_bytes=result.missing_bytes, problems=len(result.problems))


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    # libfuse unmounts then, also while files are open.
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """Serve one overlay until it is unmounted.

    Args:
        arguments: Overlay folder, folder to mount on, name, "rw" or "ro", "fill" or "lazy", descriptors of sockets.
    """
    from jbackupd.restore.fuse import caller, serve
    from jbackupd.restore.fuseoverlay import OverlayOperations
    from jbackupd.restore.overlay import Overlay

    upper, folder, name, access, filling, *descriptors = arguments
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    contents = AskedContents([socket.socket(fileno=int(one)) for one in descriptors])
    fill = Fill(contents, _filled)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with contextlib.closing(contents), contextlib.closing(Overlay(upper, fill, fill.touched)) as overlay:
            if filling == "fill":
                fill.start(overlay.lazy)
            try:
                operations = OverlayOperations(overlay, caller)
                serve(operations, folder, name=name, writable=access == "rw", ready=lambda: _say("ready"))
            finally:
                fill.stop()
    except (JbackupdError, OSError) as error:
        _say("failed", reason=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
