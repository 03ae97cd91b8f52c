"""`jbackupd nbd`: a file of a point as a network block device, served while the rest is still being fetched."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import click

from jbackupd.cli.output import Frame, pass_frame, path_fields, print_document, show_path
from jbackupd.cli.progress import Progress
from jbackupd.cli.reaching import keys_of, other_sites
from jbackupd.cli.reading import ENCODING, header_fields, say_picked, tree_path
from jbackupd.model.errors import JbackupdError, UsageError
from jbackupd.model.ids import PointSelector
from jbackupd.model.texts import _
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.service.exporting import ExportWish, Served

LOOK_SECONDS = 0.5


@click.command(help=_("Serve a file of a point as a network block device (NBD), until Ctrl-C."))
@click.argument("point", metavar="POINT")
@click.argument("path", metavar="PATH")
@click.option("--socket", "socket_path", metavar="FILE", help=_("where clients connect: a socket of this user's"))
@click.option("--listen", metavar="HOST:PORT", help=_("where clients connect: a port, open to whoever reaches it"))
@click.option("--writable", "overlay", metavar="DIR", help=_("take writes, and keep them in this folder"))
@click.option("--from", "sites", multiple=True, metavar="PEER", help=_("ask this site first which points there are"))
@click.option("--fill/--no-fill", default=True, help=_("fetch in the background what nobody has read yet"))
@click.option("--share", "shares", multiple=True, metavar="FILE", help=_("read with shares of the recovery key"))
@ENCODING
@pass_frame
def nbd(
    frame: Frame, point: str, path: str, socket_path: str | None, listen: str | None, overlay: str | None,
    sites: tuple[str, ...], fill: bool, shares: tuple[str, ...], encoding: str,
) -> int:
    """Serve; what is not in this site's vault comes from other sites as it is read."""
    from jbackupd.service.exporting import ExportWish

    if (socket_path is None) == (listen is None):
        raise UsageError("say where clients connect", "write either --socket FILE or --listen HOST:PORT")
    wish = ExportWish(
        PointSelector.parse(point), tree_path(path, encoding),
        os.path.abspath(socket_path) if socket_path is not None else str(listen),
        None if overlay is None else lambda _: os.path.abspath(overlay), fill, ask_first=bool(sites),
    )
    return asyncio.run(_serve(frame, wish, sites, shares, encoding))


async def _serve(
    frame: Frame, wish: ExportWish, sites: tuple[str, ...], shares: tuple[str, ...], encoding: str
) -> int:
    from jbackupd.service.bringers import Bringers
    from jbackupd.service.exporting import served
    from jbackupd.service.wiring import known_verifiers
    from jbackupd.storage.files import PosixFiles

    settings = frame.settings()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    failures: set[str] = set()

    def failed(name: str, error: JbackupdError) -> None:
        # A client that tries again and again must not fill the screen.
        shown = error.render(_(error.message))
        if shown not in failures:
            failures.add(shown)
            click.echo(_("a client was told of an error: {reason}").format(reason=shown), err=True)

    files = PosixFiles(settings.site.state)
    keys = await asyncio.to_thread(keys_of, settings, wish.selector.dataset.tenant, shares)
    verifiers = await asyncio.to_thread(known_verifiers, settings)
    places = await asyncio.to_thread(other_sites, settings, sites)
    async with served(files, wish, keys, places, Bringers(files), verifiers=verifiers, failed=failed) as export:
        say_picked(frame, export.stored, wish.selector)
        _tell(frame, wish, export, encoding)
        await _follow(frame, export, ended)
    return 0


def _tell(frame: Frame, wish: ExportWish, export: Served, encoding: str) -> None:
    """Say where clients connect; on stdout, so that a script can wait for it."""
    if frame.json:
        print_document({
            **header_fields(export.stored), **path_fields(export.path), "size": export.size, "uri": export.uri,
            "writable": wish.overlay is not None, "from_elsewhere": export.bringer is not None,
        })
        return
    click.echo(export.uri)
    frame.say(_("{path}, {size}, is served; Ctrl-C ends it").format(
        path=show_path(export.path, encoding), size=show_size(export.size)
    ))


async def _follow(frame: Frame, export: Served, ended: asyncio.Event) -> None:
    """Wait for the end, and show how far the filling is meanwhile."""
    told = None
    with Progress(export.stored.label, quiet=frame.quiet or export.bringer is None) as progress:
        while not ended.is_set() and export.bringer is not None:
            state = export.bringer.state
            progress.update(state.here_bytes, state.total_bytes or None)
            if state.total_bytes and export.bringer.is_idle:
                break
            if state.error is not None and str(state.error) != told:
                told = str(state.error)
                shown = state.error.render(_(state.error.message))
                frame.say(_("nothing comes just now: {reason}").format(reason=shown))
            try:
                await asyncio.wait_for(ended.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue
    if export.bringer is not None and not ended.is_set():
        missing = export.bringer.state.hopeless
        frame.say(
            _("{count} packs cannot be had from any site; what lies in them cannot be read").format(count=missing)
            if missing else _("all of it is here now")
        )
    await ended.wait()
