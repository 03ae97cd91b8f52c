"""`jbackupd run`: the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jbackupd.cli.output import Frame, pass_frame
from jbackupd.model.texts import _, set_language

if TYPE_CHECKING:
    from jbackupd.service.log import Form


@click.command(help=_("Run the daemon in the foreground; systemd does this with 'systemctl start jbackupd'."))
@click.option(
    "--log", "form", type=click.Choice(("journal", "json", "text")), help=_("instead of [log] format")
)
@pass_frame
def run(frame: Frame, form: Form | None) -> int:
    """Run until SIGTERM; SIGHUP takes the configuration anew."""
    from jbackupd.service.daemon import run_daemon
    from jbackupd.service.log import logging_to

    settings = frame.settings()
    if settings.language is not None:
        set_language(settings.language)
    with logging_to(form or settings.log.format, settings.log.level) as log:
        return run_daemon(frame.config, settings, log)
