"""The running daemon, also when the configuration on disk has become unusable since it was started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import click

from jbackupd.cli.output import Frame, error_document
from jbackupd.model.errors import ConfigError, NoDaemonError
from jbackupd.model.texts import _

Watch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Running:
    """Where the daemon is asked.

    Attributes:
        state: Its state folder.
        zone: The time that people there live in.
        broken: Why the configuration on disk cannot be used; the daemon goes on with the one before.
    """

    state: str
    zone: tzinfo
    broken: ConfigError | None = None

    def call(self, verb: str, watch: Watch = lambda _: None, /, **arguments: Any) -> dict[str, Any]:
        """Ask the daemon; see `client.call`.

        Raises:
            ConfigError: None is running, and the configuration on disk is broken: that is what has to be mended.
        """
        from jbackupd.service.client import call

        try:
            return call(self.state, verb, watch, **arguments)
        except NoDaemonError as error:
            raise (self.broken or error) from error

    def warn(self) -> None:
        """Say what is wrong with the configuration on disk, whatever --quiet asks: the next restart fails."""
        if self.broken is not None:
            shown = _("the configuration on disk is broken, the daemon goes on with the one before: {reason}")
            click.echo(shown.format(reason=self.broken.render(_(self.broken.message))), err=True)

    def document(self) -> dict[str, Any] | None:
        """Return what is wrong with the configuration on disk for machines; None if nothing is."""
        return None if self.broken is None else error_document(self.broken)["error"]


def running(frame: Frame) -> Running:
    """Return where the daemon of this configuration is asked.

    Raises:
        ConfigError: The configuration cannot be used, and does not even tell the state folder.
    """
    try:
        site = frame.settings().site
    except ConfigError as error:
        from jbackupd.settings.salvage import salvage

        found = salvage(frame.config)
        if found is None:
            raise
        return Running(found.state, found.zone, error)
    return Running(site.state, site.zone)
