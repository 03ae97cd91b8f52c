"""`jbackupd mount`: look at a point as a folder, or work with it before it is restored."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, pass_frame, show_path
from jbackupd.cli.reaching import reached
from jbackupd.cli.reading import ENCODING, header_fields, say_picked
from jbackupd.model.ids import PointSelector
from jbackupd.model.texts import _
from jbackupd.model.units import show_size

if TYPE_CHECKING:
    from jbackupd.model.errors import JbackupdError
    from jbackupd.restore.filling import FillResult
    from jbackupd.restore.view import PointView
    from jbackupd.vault.vault import StoredPoint


@click.command(help=_("Show a point as a folder, until it is unmounted."))
@click.argument("point", metavar="POINT")
@click.argument("folder", metavar="DIR")
@click.option("--writable", "upper", metavar="UPPER", help=_("may be written; what is read or written stays in UPPER"))
@click.option("--fill/--no-fill", default=True, help=_("bring everything into UPPER in the background"))
@click.option("--from", "sites", multiple=True, metavar="PEER", help=_("ask this site first which points there are"))
@click.option("--share", "shares", multiple=True, metavar="FILE", help=_("read with shares of the recovery key"))
@ENCODING
@pass_frame
def mount(
    frame: Frame, point: str, folder: str, upper: str | None, fill: bool, sites: tuple[str, ...],
    shares: tuple[str, ...], encoding: str,
) -> int:
    """Mount; exit code 4 when something was damaged: reading it failed, and it was named."""
    from jbackupd.restore.fuse import check_mountable
    from jbackupd.restore.view import PointView

    selector = PointSelector.parse(point)
    # libfuse leaves the folder that the command was called in.
    folder, upper = os.path.abspath(folder), upper and os.path.abspath(upper)
    check_mountable(folder)
    with reached(frame.settings(), selector, sites, shares) as found:
        say_picked(frame, found.stored, selector)
        with contextlib.closing(PointView(found.point)) as view:
            told = _Told(frame, found.stored, folder, encoding)
            if upper is None:
                _show(view, told)
            else:
                with _overlay(view, upper, told, fill=fill) as operations:
                    told.serve(operations, writable=True)
    return told.exit_code


class _Told:
    """What people hear of a mount.

    Attributes:
        exit_code: 0, or that of the gravest thing that was told.
    """

    def __init__(self, frame: Frame, stored: StoredPoint, folder: str, encoding: str) -> None:
        self.label = stored.label
        self.exit_code = 0
        self._frame = frame
        self._stored = stored
        self._folder = folder
        self._encoding = encoding

    def serve(self, operations: Any, *, writable: bool) -> None:
        from jbackupd.restore.fuse import serve

        serve(operations, self._folder, name=self.label, writable=writable, ready=self._ready)

    def damage(self, path: bytes, error: JbackupdError) -> None:
        """Say what cannot be read."""
        self.exit_code = max(self.exit_code, error.exit_code)
        shown = _("not readable: {path}: {reason}")
        click.echo(
            shown.format(path=show_path(path, self._encoding), reason=error.render(_(error.message))), err=True
        )

    def filled(self, result: FillResult) -> None:
        """Say how far the fill came."""
        if not result.missing_bytes:
            self._frame.say(_("everything is there: the folder does not need the vault any more"))
        else:
            self._frame.say(_("{size} could not be brought").format(size=show_size(result.missing_bytes)))

    def _ready(self) -> None:
        document = {**header_fields(self._stored), "folder": self._folder}
        shown = _("{point} is in {folder}; end it with 'umount {folder}' or Ctrl-C")
        self._frame.emit(document, lambda: click.echo(shown.format(point=self.label, folder=self._folder)))


def _show(view: PointView, told: _Told) -> None:
    from jbackupd.restore.fuseview import ViewOperations

    told.serve(ViewOperations(view, told.damage), writable=False)


@contextlib.contextmanager
def _overlay(view: PointView, upper: str, told: _Told, *, fill: bool) -> Iterator[Any]:
    from jbackupd.restore.filling import Fill
    from jbackupd.restore.fuse import caller
    from jbackupd.restore.fuseoverlay import OverlayOperations
    from jbackupd.restore.overlay import Overlay, make_overlay
    from jbackupd.restore.pointcontents import PointContents

    make_overlay(upper, told.label, view.entries)
    filling = Fill(PointContents(view, lambda number, error: told.damage(view.entry(number).path, error)), told.filled)
    with contextlib.closing(Overlay(upper, filling, filling.touched)) as overlay:
        if fill:
            filling.start(overlay.lazy)
        try:
            yield OverlayOperations(overlay, caller)
        finally:
            filling.stop()
