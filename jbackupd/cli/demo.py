"""`jbackupd demo`: the whole story on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator

import click

from jbackupd.cli.output import Frame, pass_frame
from jbackupd.model.errors import RefusedError
from jbackupd.model.texts import _

RESIDENTS = 30_000


@click.command(help=_("Play the whole story on this machine: three sites on loopback, a disaster, a recovery."))
@click.option("--dir", "folder", metavar="DIR", help=_("where to play it; it stays. Without it a temporary folder"))
@click.option("--keep", is_flag=True, help=_("leave the counter open until Ctrl-C"))
@click.option("--residents", type=click.IntRange(20_000, 1_000_000), default=RESIDENTS, hidden=True)
@pass_frame
def demo(frame: Frame, folder: str | None, keep: bool, residents: int) -> None:
    """Play it; any promise that is not kept is an error."""
    from jbackupd.demo.story import played, wait_for_interrupt

    # A demo that is told to end stops its daemons as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _folder(folder) as where, played(where, residents=residents, tell=_line) as outcome:
        frame.emit(
            {
                "crossed_bytes": outcome.crossed_bytes, "compressed_copy_bytes": outcome.compressed_copy_bytes,
                "plain_copy_bytes": outcome.plain_copy_bytes, "rpo_seconds": outcome.rpo_seconds,
                "rto_seconds": outcome.rto_seconds, "desk": outcome.url,
            },
            lambda: click.echo("\n" + _("Every promise was kept.")),
        )
        if keep:
            frame.say(_("The counter is open at {url}; sign in as {account} with {password}").format(
                url=outcome.url, account=outcome.account, password=outcome.password
            ))
            frame.say(_("Look around: jbackupd -c {config} status. Ctrl-C ends everything.").format(
                config=os.path.join(where, "kyoto", "jbackupd.toml")
            ))
            wait_for_interrupt()


def _line(text: str) -> None:
    # The story is talk: with --json the document alone goes to stdout.
    click.echo(text, err=True)


@contextlib.contextmanager
def _folder(wanted: str | None) -> Iterator[str]:
    if wanted is None:
        with tempfile.TemporaryDirectory(prefix="jbackupd-demo-") as folder:
            yield folder
        return
    os.makedirs(wanted, exist_ok=True)
    if os.listdir(wanted):
        raise RefusedError("unable to play in {folder}: it is not empty", "name a new folder", folder=wanted)
    yield os.path.abspath(wanted)
