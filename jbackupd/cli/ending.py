"""How a call of the command ends: every exception becomes what the person must hear and an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from jbackupd.cli.output import Frame, print_document, report
from jbackupd.model.errors import JbackupdError, UsageError
from jbackupd.model.texts import _

INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE


@dataclass
class Ending:
    """The exit code that a call comes to."""

    code: int = 0


@contextlib.contextmanager
def endings(frame: Frame, arguments: Sequence[str]) -> Iterator[Ending]:
    """Turn every exception into what the person must hear and an exit code."""
    ending = Ending()
    # A mistake in the arguments is found before --json is read.
    as_json = frame.json or "--json" in arguments
    try:
        yield ending
    except JbackupdError as error:
        ending.code = report(error, as_json=as_json)
    except click.exceptions.Exit as error:
        ending.code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        ending.code = UsageError.exit_code
    except click.ClickException as error:
        ending.code = _report_usage(error, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        click.echo(_("interrupted"), err=True)
        ending.code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ending.code = PIPE_CLOSED
    except Exception as error:
        ending.code = _report_defect(error, as_json=as_json)


def _report_usage(error: click.ClickException, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "jbackupd"
    return report(
        UsageError("{reason}", "`{command} --help` shows how it is called", reason=error.format_message(),
                   command=command),
        as_json=as_json,
    )


def _report_defect(error: Exception, *, as_json: bool) -> int:
    """Say that we failed, in one line; the traceback goes to a private file, or to stderr for debugging."""
    trace = "".join(traceback.format_exception(error))
    where = ""
    if os.environ.get("JBACKUPD_DEBUG") == "1":
        click.echo(trace, err=True)
    else:
        with contextlib.suppress(OSError):
            descriptor, where = tempfile.mkstemp(prefix="jbackupd-defect-", suffix=".txt")
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(trace)
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    if as_json:
        body: dict[str, Any] = {"code": "defect", "message": reason, "hint": where, "exit_code": 1}
        print_document({"error": body})
    else:
        click.echo(_("error: this is a defect of jbackupd: {reason}").format(reason=reason), err=True)
        if where:
            click.echo(_("next: report it with the file {path}").format(path=where), err=True)
    return 1
