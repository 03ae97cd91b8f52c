"""`jbackupd config`: write, check and show the configuration."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from jbackupd.cli.output import Frame, pass_frame
from jbackupd.model.errors import RefusedError, StorageError
from jbackupd.model.texts import _


@click.group(help=_("Write, check and show the configuration."))
def config() -> None:
    """Group of commands."""


@config.command(help=_("Check the configuration and name every problem with file and line."))
@pass_frame
def check(frame: Frame) -> None:
    """Check everything that can be checked without running; exit code 78 when anything is wrong."""
    from jbackupd.service.wiring import officer_verifiers, peer_cards
    from jbackupd.settings.load import config_files, load

    settings = load(frame.config, thorough=True)
    peer_cards(settings)
    officer_verifiers(settings)
    counts = {
        "tenants": len(settings.tenants),
        "datasets": len(settings.datasets),
        "peers": len(settings.peers),
        "officers": len(settings.officers),
    }
    files = config_files(frame.config)

    def text() -> None:
        for file in files:
            click.echo(file)
        click.echo(
            _("fine: site {site}, tenants {tenants}, datasets {datasets}, peers {peers}, officers {officers}").format(
                site=settings.site.id, **counts
            )
        )

    frame.emit({"files": files, "site": settings.site.id, **counts, "problems": []}, text)


@config.command(help=_("Show the settings in force, with every default, as TOML."))
@pass_frame
def show(frame: Frame) -> None:
    """Print the merged and completed configuration; it holds no secrets."""
    from jbackupd.settings.write import to_toml

    document = frame.settings().model_dump(mode="json", by_alias=True, exclude_none=True)
    frame.emit({"settings": document}, lambda: click.echo(to_toml(document), nl=False))


@config.command(help=_("Print the JSON Schema of the configuration, for editors."))
def schema() -> None:
    """Print the JSON Schema."""
    from jbackupd.settings.schema import Settings

    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(by_alias=True),
    }
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


@config.command(help=_("Write a smallest configuration to the file that -c names."))
@click.option("--site", required=True, metavar="ID", help=_("this site's name"))
@click.option("--state", default="/var/lib/jbackupd", metavar="DIR", help=_("folder for vaults and keys"))
@click.option("--dataset", required=True, metavar="TENANT/NAME", help=_("what is taken"))
@click.option("--path", "paths", required=True, multiple=True, metavar="PATH", help=_("folder or file to take"))
@pass_frame
def init(frame: Frame, site: str, state: str, dataset: str, paths: tuple[str, ...]) -> None:
    """Write a new file; an existing one is never touched."""
    from jbackupd.model.ids import DatasetId
    from jbackupd.settings.write import to_toml

    tenant = DatasetId.parse(dataset).tenant
    document = {
        "version": 1,
        "site": {"id": site, "state": os.path.abspath(state)},
        "tenant": [{"id": tenant}],
        "dataset": [
            {"id": dataset, "source": {"kind": "files", "paths": [os.path.abspath(path) for path in paths]}}
        ],
    }
    _write_new(frame.config, to_toml(document))
    # The file must be one that every other command takes.
    frame.settings()
    following = _("next: jbackupd -c {file} vault init {tenant} --shares 2-of-3 --share-dir DIR")
    frame.say(following.format(file=frame.config, tenant=tenant))
    frame.emit({"file": frame.config}, lambda: click.echo(frame.config))


def _write_new(path: str, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    except FileExistsError as error:
        raise RefusedError(
            "{path} is there already and is not overwritten", "name another file with -c", path=path
        ) from error
    except OSError as error:
        raise StorageError(
            "unable to create {path}: {reason}", "check that the folder exists and that you may write to it",
            path=path, reason=error.strerror,
        ) from error
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
