"""Would this step work at this host? Its address, programs, scripts and units; nothing is started."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator

from jbackupd.desk.fields import ColumnMap
from jbackupd.model.errors import JbackupdError
from jbackupd.model.texts import to_translate
from jbackupd.model.units import Address, parse_address
from jbackupd.service.deeds.scripts import approved_bytes
from jbackupd.service.finding import Finding, Grade, bad, good
from jbackupd.service.readycontainers import container_findings
from jbackupd.settings.programs import Container
from jbackupd.settings.steps import DeskStep, ExportStep, MountStep, PostgresStep, ServiceStep, Step, scripts_of

SYSTEMCTL_SECONDS = 10.0


def step_findings(step: Step) -> Iterator[Finding]:
    """Look at what a step needs of this host. Blocks."""
    try:
        for _key, script in scripts_of(step):
            approved_bytes(script)
            yield good(step.id, to_translate("{path} is the program that was approved"), path=script.script)
    except JbackupdError as error:
        yield Finding(Grade.BAD, step.id, error.message, error.fields)
    match step:
        case DeskStep():
            yield from _desk(step)
        case PostgresStep():
            yield from _address(step.id, step.listen)
            yield from _programs(step)
        case ExportStep(listen=str(where)) if not where.startswith("/"):
            yield from _address(step.id, parse_address(where))
        case MountStep():
            if not os.access("/dev/fuse", os.R_OK | os.W_OK):
                yield bad(step.id, to_translate("this host does not let us mount: {path} cannot be used"),
                          path="/dev/fuse")
        case ServiceStep(unit=str(unit)):
            yield from _unit(step.id, unit)
        case ServiceStep(container=Container() as container):
            yield from container_findings(step.id, container)


def _desk(step: DeskStep) -> Iterator[Finding]:
    try:
        ColumnMap.parse(step.columns, ignore=step.ignore, encoding=step.encoding)
    except JbackupdError as error:
        yield Finding(Grade.BAD, step.id, error.message, error.fields)
    for path in (step.certificate, step.private_key):
        if path is not None and not os.path.exists(path):
            yield bad(step.id, to_translate("{path} does not exist"), path=path)
    yield from _address(step.id, step.listen)


def _address(step: str, address: Address) -> Iterator[Finding]:
    reason = _why_not_free(address)
    if reason is not None:
        yield bad(step, to_translate("unable to listen at {address}: {reason}"), address=str(address), reason=reason)
    else:
        yield good(step, to_translate("{address} is free"), address=str(address))


def _programs(step: PostgresStep) -> Iterator[Finding]:
    where = step.programs or max(glob.glob("/usr/lib/postgresql/*/bin"), default="")
    if not os.access(os.path.join(where, "postgres"), os.X_OK):
        yield bad(step.id, to_translate("PostgreSQL is not installed here, or not in {path}"),
                  path=where or "/usr/lib/postgresql")
    else:
        yield good(step.id, to_translate("PostgreSQL is in {path}"), path=where)


def _unit(step: str, unit: str) -> Iterator[Finding]:
    if shutil.which("systemctl") is None:
        yield bad(step, to_translate("there is no systemctl here, which {unit} needs"), unit=unit)
        return
    try:
        asked = subprocess.run(
            ["systemctl", "cat", "--", unit], stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=SYSTEMCTL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield bad(step, to_translate("unable to ask systemd for {unit}: {reason}"), unit=unit, reason=str(error))
        return
    if asked.returncode != 0:
        yield bad(step, to_translate("systemd knows no unit {unit}"), unit=unit)
    else:
        yield good(step, to_translate("systemd knows {unit}"), unit=unit)


def _why_not_free(address: Address) -> str | None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return os.strerror(error.errno or errno.EINVAL)
    return None
