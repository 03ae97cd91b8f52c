"""Files of points served as network block devices: found, opened, served, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import quote

from jbackupd.codec.signing import SiteVerifier
from jbackupd.engine.bring import Bringer, Place
from jbackupd.model.errors import JbackupdError, NotFoundError, StorageError, UsageError
from jbackupd.model.ids import PointSelector, SiteId
from jbackupd.model.reasons import reason_of
from jbackupd.model.records import EntryType, TreeEntry
from jbackupd.model.units import Address, parse_address
from jbackupd.restore.disk import OverlayDisk, PointDisk
from jbackupd.restore.fileview import Extents, FileView
from jbackupd.restore.nbdserver import Device, NbdServer
from jbackupd.restore.view import ViewablePoint
from jbackupd.runtime.offload import settled
from jbackupd.service.bringers import Bringers
from jbackupd.service.client import short_path
from jbackupd.service.reaching import KeysOf, reached_point
from jbackupd.storage.files import PosixFiles
from jbackupd.vault.vault import StoredPoint

BACKLOG = 64


@dataclass(frozen=True)
class ExportWish:
    """What is to be served.

    Attributes:
        path: Of the file, as in a tree.
        listen: A whole path for a socket, or HOST:PORT.
        overlay: Returns the folder where writes to a point go; without it none are taken.
        fill: Bring everything in the background.
        ask_first: Ask the other sites which points there are, even where one here fits.
    """

    selector: PointSelector
    path: bytes
    listen: str
    overlay: Callable[[StoredPoint], str] | None = None
    fill: bool = True
    ask_first: bool = False


@dataclass
class Served:
    """An export that clients may use.

    Attributes:
        uri: What a client is given.
        bringer: Brings what is missing; None when all is here.
    """

    stored: StoredPoint
    path: bytes
    size: int
    uri: str
    server: NbdServer
    bringer: Bringer | None


@contextlib.asynccontextmanager
async def served(
    files: PosixFiles, wish: ExportWish, keys_of: KeysOf, places: Sequence[Place], bringers: Bringers, *,
    verifiers: Mapping[SiteId, SiteVerifier],
    failed: Callable[[str, JbackupdError], None] = lambda name, error: None,
) -> AsyncIterator[Served]:
    """Serve a file of a point until the context ends; what was written and flushed stays in the overlay.

    Args:
        bringers: Of this process.
        failed: Told of every request that could not be carried out.

    Raises:
        NotFoundError: There is no such point, or no such file in it.
        UsageError: It is no file.
        StorageError: The address cannot be used.
    """
    async with contextlib.AsyncExitStack() as held:
        reached = await held.enter_async_context(reached_point(
            files, wish.selector, keys_of, places, bringers, verifiers=verifiers, ask_first=wish.ask_first
        ))
        entry = await asyncio.to_thread(file_entry, reached.point, wish.path, reached.stored.label)
        extents = Extents((extent.frame, extent.offset, extent.length) for extent in entry.extents)
        overlay = wish.overlay(reached.stored) if wish.overlay is not None else None
        device = await asyncio.to_thread(_device, FileView(reached.point.read, extents), entry, overlay)
        if isinstance(device, OverlayDisk):
            held.push_async_callback(lambda: settled(asyncio.to_thread(device.close)))
        name = os.fsdecode(wish.path)
        server = NbdServer({name: device}, failed)
        listening, uri = listening_at(wish.listen)
        held.callback(_unlink, wish.listen)
        await server.open(listening)
        held.push_async_callback(server.close)
        if wish.fill:
            await reached.fill(entry.extents)
        yield Served(reached.stored, wish.path, device.size, uri, server, reached.bringer)


def file_entry(point: ViewablePoint, path: bytes, label: str) -> TreeEntry:
    """Return the entry of a file of a point. Blocks.

    Raises:
        NotFoundError: There is no such entry.
        UsageError: It is no file.
    """
    for _, record in point.records():
        if record.path == path:
            if record.type != EntryType.FILE:
                raise UsageError("{path} is not a file", "name a file", path=os.fsdecode(path))
            return record.entry()
    raise NotFoundError(
        "{point} holds no {path}", "`jbackupd ls -r {point}` shows what there is", point=label,
        path=os.fsdecode(path),
    )


def _device(file: FileView, entry: TreeEntry, overlay: str | None) -> Device:
    return PointDisk(file) if overlay is None else OverlayDisk(file, overlay, digest=entry.digest)


def listening_at(listen: str) -> tuple[socket.socket, str]:
    """Return a bound socket, and the URI under which clients reach it.

    A socket file is the user's alone; one that nobody answers at any more is replaced.

    Args:
        listen: A whole path, or HOST:PORT; port 0 is any free one.

    Raises:
        StorageError: The address cannot be used.
        UsageError: It is none.
    """
    if not listen.startswith("/"):
        address = parse_address(listen)
        try:
            bound = socket.create_server((address.host, address.port), family=_family(address), backlog=BACKLOG)
        except OSError as error:
            raise _unusable(listen, error) from error
        host, port = bound.getsockname()[:2]
        return bound, f"nbd://{f'[{host}]' if ':' in host else host}:{port}/"
    bound = socket.socket(socket.AF_UNIX)
    try:
        with short_path(listen) as short:
            _remove_stale(listen, short)
            os.fchmod(bound.fileno(), 0o600)
            bound.bind(short)
        os.chmod(listen, 0o600)
    except OSError as error:
        bound.close()
        raise _unusable(listen, error) from error
    return bound, f"nbd+unix:///?socket={quote(listen)}"


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _remove_stale(path: str, short: str) -> None:
    """Remove a socket that a killed process left; anything else in its place stays, and is an error soon."""
    if not PurePath(path).name or not os.path.exists(path):
        return
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(short)
        except ConnectionRefusedError:
            os.unlink(path)


def _unlink(listen: str) -> None:
    if listen.startswith("/"):
        with contextlib.suppress(OSError):
            os.unlink(listen)


def _unusable(listen: str, error: OSError) -> StorageError:
    return StorageError(
        "unable to listen at {address}: {reason}", "name another address, or end what listens there",
        address=listen, reason=reason_of(error),
    )
