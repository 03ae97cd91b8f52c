"""`jbackupd backup`: take a point, by the daemon or in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from jbackupd.cli.output import Frame, error_document, pass_frame, report
from jbackupd.cli.progress import Progress
from jbackupd.model.errors import EXIT_INCOMPLETE, EXIT_OK, JbackupdError, NotFoundError
from jbackupd.model.ids import DatasetId
from jbackupd.model.reasons import in_words
from jbackupd.model.texts import _, counted
from jbackupd.model.units import show_duration, show_size

if TYPE_CHECKING:
    from jbackupd.settings.schema import Dataset, Settings

Outcome = dict[str, Any]
"""One dataset's result as a document: of a point, or with the key "error"."""
Take = Callable[["Dataset", Progress], Outcome]


@click.command(help=_("Take a point of datasets; of all if none is named."))
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--local", is_flag=True, help=_("in this process; the daemon must not run"))
@click.option("--dry-run", is_flag=True, help=_("read the source, store nothing"))
@pass_frame
def backup(frame: Frame, datasets: tuple[str, ...], local: bool, dry_run: bool) -> int:
    """Take points; exit code 3 when something in scope could not be taken, the files are named."""
    settings = frame.settings()
    chosen = choose(settings, datasets)
    take = _dry(settings) if dry_run else _locally(settings) if local else _by_daemon(frame, settings)
    outcomes: list[Outcome] = []
    errors: list[JbackupdError] = []
    for dataset in chosen:
        with Progress(str(dataset.id), quiet=frame.quiet) as progress:
            try:
                outcomes.append(take(dataset, progress))
            except JbackupdError as error:
                # One dataset's trouble is no reason to leave the others without a point.
                if len(chosen) == 1:
                    raise
                errors.append(error)
                outcomes.append({"dataset": str(dataset.id), **error_document(error)})
    frame.emit(_document(outcomes), lambda: _show(outcomes))
    for failed in errors if not frame.json else ():
        report(failed, as_json=False)
    if errors:
        return errors[0].exit_code
    return EXIT_INCOMPLETE if any(outcome["unreadable_files"] for outcome in outcomes) else EXIT_OK


def choose(settings: Settings, names: Sequence[str]) -> list[Dataset]:
    """Return the datasets that are meant, all if none is named; the most urgent first.

    Raises:
        NotFoundError: One is not in the configuration; the hint names what is.
    """
    wanted = [DatasetId.parse(name) for name in names]
    for name in wanted:
        if settings.dataset(name) is None:
            known = ", ".join(str(dataset.id) for dataset in settings.datasets) or "-"
            raise NotFoundError(
                "there is no dataset {dataset} in the configuration", "it has: {known}", dataset=name, known=known
            )
    chosen = [dataset for dataset in settings.datasets if not wanted or dataset.id in wanted]
    if not chosen:
        raise NotFoundError("the configuration has no dataset", "add a [[dataset]]; see 'jbackupd config init --help'")
    return sorted(chosen, key=lambda dataset: dataset.tier)


def _by_daemon(frame: Frame, settings: Settings) -> Take:
    from jbackupd.service.client import call

    def take(dataset: Dataset, progress: Progress) -> Outcome:
        def watch(event: dict[str, Any]) -> None:
            done = event.get("progress") or {}
            progress.update(done.get("bytes", 0), done.get("bytes_expected"), done.get("files"))

        try:
            return call(settings.site.state, "backup", watch, dataset=str(dataset.id))
        except KeyboardInterrupt:
            frame.say(_("the daemon goes on with it; 'jbackupd points list' shows the point when it is there"))
            raise

    return take


def _document(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the document: of one dataset its own fields, and always the list of all."""
    single = outcomes[0] if len(outcomes) == 1 else {}
    return {**single, "backups": list(outcomes)}


def _show(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if "error" in outcome:
            continue
        if outcome["point"] is None:
            line = _("{dataset}: {files}, {source} would be taken")
        else:
            line = _("{point}: {files}, {source}; new for a peer: {new} ({seconds})")
        click.echo(
            line.format(
                dataset=outcome["dataset"], point=outcome["point"],
                files=counted("{count} file", "{count} files", outcome["files"]),
                source=show_size(outcome["source_bytes"]), new=show_size(outcome["new_object_bytes"] or 0),
                seconds=show_duration(outcome["seconds"]),
            )
        )
        if outcome.get("changed_files"):
            click.echo("  " + counted(
                "{count} file changed while it was read; it is stored as it was read, and read again next time",
                "{count} files changed while they were read; they are stored as read, and read again next time",
                outcome["changed_files"],
            ))
        for missing in outcome["unreadable"]:
            click.echo("  " + _("not taken: {path}: {reason}").format(
                path=missing["path"], reason=in_words(missing["reason"])
            ))


def _locally(settings: Settings) -> Take:
    from jbackupd.runtime.heap import keep_freed_memory
    from jbackupd.service.wiring import take_locally

    keep_freed_memory()

    def take(dataset: Dataset, progress: Progress) -> Outcome:
        with take_locally(settings) as take_point:
            taken = take_point(dataset.id, lambda done, files: progress.update(done, files=files), lambda: False)
        return {"dataset": str(dataset.id), **taken.result}

    return take


def _dry(settings: Settings) -> Take:
    from jbackupd.service.wiring import look_at

    def take(dataset: Dataset, progress: Progress) -> Outcome:
        looked = look_at(settings, dataset.id, lambda done, files: progress.update(done, files=files))
        return {"dataset": str(dataset.id), **looked.result}

    return take
