"""The command `jbackupd`: finds a command's module by name, and turns every ending into an exit code.

A command lives in `jbackupd.cli.MODULE`, in the attribute that the table names: a click command, or a
function that takes the arguments. It may return an exit code (None is 0); it raises JbackupdError for
anything a person must hear. Global options (-c, --json, --language, -q) may stand before or after the
command's name. Modules are imported only when their command is called, so a command's own texts may
use `_` freely.
"""

from __future__ import annotations

import gettext
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

import jbackupd
from jbackupd.cli.ending import endings
from jbackupd.cli.output import DEFAULT_CONFIG, Frame
from jbackupd.model.texts import DOMAIN, LANGUAGES, LOCALE_FOLDER, _, language_of, set_language


@dataclass(frozen=True)
class Entry:
    """Where a command lives, and its line in the overview."""

    module: str
    attribute: str
    summary: str


def _entries() -> dict[str, Entry]:
    """Return all commands in the order of the overview."""
    return {
        "run": Entry("run", "run", _("the daemon: takes points, carries them to the peers")),
        "demo": Entry("demo", "demo", _("the whole story on this machine: three sites, a disaster, the desk")),
        "status": Entry("status", "status", _("how every dataset stands")),
        "config": Entry("config", "config", _("write, check and show the configuration")),
        "backup": Entry("backup", "backup", _("take a point of datasets")),
        "points": Entry("points", "points", _("list and show points")),
        "ls": Entry("points", "ls", _("list the files of a point")),
        "cat": Entry("points", "cat", _("write a file of a point to standard output")),
        "restore": Entry("restore", "restore", _("put files of a point into a folder")),
        "nbd": Entry("nbd", "nbd", _("serve a file of a point as a network block device")),
        "mount": Entry("mount", "mount", _("show a point as a folder, before it is restored")),
        "rescue": Entry("rescue", "main", _("read a vault on a bare machine, without configuration")),
        "verify": Entry("verify", "verify", _("read stored objects and prove every byte of them")),
        "sample": Entry("sample", "sample", _("restore a sample for nobody, and compare it")),
        "vault": Entry("vault", "vault", _("create a tenant's vault, look at it, rebuild its catalog")),
        "peer": Entry("peer", "peer", _("the other sites")),
        "limit": Entry("limit", "limit", _("how much of a line is used")),
        "key": Entry("key", "key", _("recovery keys and their shares")),
        "site": Entry("site", "site", _("site cards; declare a site lost")),
        "officer": Entry("site", "officer", _("keys of the officers whose approval counts")),
        "recovery": Entry("recovery", "recovery", _("run a continuity plan")),
        "desk": Entry("desk", "desk", _("the minimal service: look-up of residents")),
        "tenant": Entry("package", "tenant", _("a municipality's package for its own office")),
        "feed": Entry("feed", "feed", _("residents as files for other systems")),
        "audit": Entry("desk", "audit", _("who looked at what: show and verify the record")),
    }


class Commands(click.Group):
    """Loads a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands whose modules are installed."""
        return [name for name, entry in _entries().items() if _spec(entry.module) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, with the global options added."""
        entry = _entries().get(cmd_name)
        if entry is None or _spec(entry.module) is None:
            return None
        command = getattr(importlib.import_module(f"jbackupd.cli.{entry.module}"), entry.attribute)
        if not isinstance(command, click.Command):
            return Foreign(cmd_name, command)
        _add_global_options(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview without importing any command."""
        installed = set(self.list_commands(ctx))
        rows = [(name, entry.summary) for name, entry in _entries().items() if name in installed]
        if rows:
            with formatter.section(_("Commands")):
                formatter.write_dl(rows)


class Foreign(click.Command):
    """A command that reads its arguments by itself: it must also run where click is not installed.

    Args:
        name: The command's name.
        run: Takes the arguments, returns the exit code.
    """

    def __init__(self, name: str, run: Callable[[list[str]], int]) -> None:
        super().__init__(name)
        self._run = run

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Leave the arguments unread."""
        context = click.Context(self, info_name=info_name, parent=parent)
        context.args = list(args)
        return context

    def invoke(self, ctx: click.Context) -> int:
        """Run it; argparse ends the process by itself after help and wrong calls."""
        try:
            return self._run(ctx.args)
        except SystemExit as ending:
            return ending.code if isinstance(ending.code, int) else 0


def _spec(module: str) -> object:
    return importlib.util.find_spec(f"jbackupd.cli.{module}")


def _global_options() -> list[click.Option]:
    return [
        click.Option(
            ["-c", "--config"], metavar="FILE", expose_value=False, callback=_set_config,
            help=_("configuration file (default {path})").format(path=DEFAULT_CONFIG),
        ),
        click.Option(
            ["--json", "as_json"], is_flag=True, expose_value=False, callback=_set_json,
            help=_("write data as one JSON document"),
        ),
        click.Option(
            ["--language"], type=click.Choice(LANGUAGES), expose_value=False, callback=_set_language,
            help=_("language of texts (default: the locale's)"),
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_quiet,
            help=_("say nothing but errors"),
        ),
    ]


def _set_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Frame).config = value


def _set_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Frame).json |= value


def _set_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Frame).quiet |= value


def _set_language(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Check the word only: the language is set before anything is parsed, so that help speaks it too."""


def _add_global_options(command: click.Command) -> None:
    """Let the global options stand after the command's name too; its own options win."""
    taken = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    for option in _global_options():
        if not taken.intersection(option.opts):
            command.params.append(option)
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _add_global_options(below)


def _root() -> Commands:
    return Commands(
        "jbackupd",
        params=_global_options(),
        help=_("Backup and disaster recovery between municipal datacenters."),
        epilog=_(
            "Exit codes: 0 done, 1 failed, 2 usage, 3 incomplete, 4 damage, 5 refused by a safety rule, 6 key, "
            "7 busy, 8 peer or network, 9 no space, 10 not found, 75 try later, 78 configuration."
        ),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def choose_language(arguments: Sequence[str]) -> None:
    """Set the language from --language, else from the locale, for our texts and for click's."""
    wanted = language_of(os.environ)
    for index, argument in enumerate(arguments):
        name, _equals, value = argument.partition("=")
        if name == "--language":
            value = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
            wanted = value if value in LANGUAGES else wanted
    set_language(wanted)
    # click asks gettext with the process's default domain: its own few words are in our translation.
    gettext.bindtextdomain(DOMAIN, LOCALE_FOLDER)
    gettext.textdomain(DOMAIN)
    # Texts for machines are never translated.
    os.environ["LANGUAGE"] = "en" if "--json" in arguments else wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    Args:
        arguments: Without the program's name; the process's own if None.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal in another encoding than a name's must not end a restore.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    choose_language(arguments)
    if arguments == ["--version"]:
        click.echo(f"jbackupd {jbackupd.__version__}")
        return 0
    frame = Frame()
    with endings(frame, arguments) as ending:
        root = _root()
        # Not root.main(): that one ends the process by itself when our output's reader has gone.
        with root.make_context("jbackupd", arguments, obj=frame) as context:
            result = root.invoke(context)
        ending.code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    return ending.code
